// @ts-check
/** The bar on top: who this is, where to go, and whether what is shown is live. */
import { html, cls, useEffect, useState } from './html.js';
import { Icon } from './basics.js';
import { router, VIEWS, makeHash } from '../lib/router.js';
import { page, useStores } from '../lib/store.js';
import { stream } from '../lib/stream.js';
import { theme } from '../lib/theme.js';
import { useNode } from '../lib/api.js';
import { count } from '../lib/format.js';

export function Bar() {
  useStores(router, page, theme);
  const node = useNode().data;
  return html`<header class="bar">
    <a class="brand" href="#/overview" aria-label="ChronoFabric, overview"><img src="mark.svg" alt="" width="24" height="24" /><span>ChronoFabric</span></a>
    <span class="node-name" title=${node ? `node ${node.node_id}, incarnation ${node.incarnation}, version ${node.version}` : ''}>${node?.name ?? ''}${node?.simulated ? html`<span class="tag">simulated</span>` : ''}</span>
    <nav class="tabs" aria-label="Views">
      ${VIEWS.map((view) => html`<a href=${makeHash(view)} class=${cls('tab', router.route.view === view && 'on')} aria-current=${router.route.view === view ? 'page' : undefined}>${view[0].toUpperCase() + view.slice(1)}</a>`)}
    </nav>
    <span class="spring"></span>
    <${LiveMark} />
    <div class="tools">
      <button type="button" class="tool" aria-pressed=${page.paused} onClick=${() => page.togglePause()} title="Pause or continue (space)" aria-label=${page.paused ? 'Continue' : 'Pause'}><${Icon} name=${page.paused ? 'play' : 'pause'} /></button>
      <button type="button" class="tool" onClick=${() => page.open('go')} title="Go to … (g)" aria-label="Go to"><${Icon} name="go" /></button>
      <button type="button" class="tool" onClick=${() => theme.toggle()} title="Dark or light (t)" aria-label=${theme.name === 'dark' ? 'Light theme' : 'Dark theme'}><${Icon} name=${theme.name === 'dark' ? 'sun' : 'moon'} /></button>
      <button type="button" class="tool" onClick=${() => page.open('help')} title="Keys and words (?)" aria-label="Help"><${Icon} name="help" /></button>
    </div>
  </header>`;
}

const WORDS = { live: 'Live', stale: 'Stale', connecting: 'Connecting', broken: 'Disconnected' };

function LiveMark() {
  useStores(stream, page);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((/** @type {number} */ n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const health = page.paused ? 'paused' : stream.health();
  const word = page.paused ? 'Paused' : WORDS[/** @type {keyof typeof WORDS} */ (health)];
  const detail = health === 'stale' ? `nothing for ${Math.round(stream.silence())} s` : '';
  return html`<span class=${`live live-${health}`} role="status" title=${`${count(stream.received)} packets received`}>
    <span class="live-dot" aria-hidden="true"></span><strong>${word}</strong>${detail && html`<span class="live-detail">${detail}</span>`}
  </span>`;
}
