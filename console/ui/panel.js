// @ts-check
/** A panel: title, how live it is, and the ways to get the same data without the console. */
import { html, cls } from './html.js';
import { CopyButtons, State } from './basics.js';
import { page, useStores } from '../lib/store.js';
import { stream, STALE_AFTER_S } from '../lib/stream.js';
import { age } from '../lib/format.js';
import { useComponents } from '../lib/api.js';

let serial = 0;

/** How fresh the newest of these topics is. @param {{topics: string[]}} props */
function Freshness({ topics }) {
  useStores(stream, page);
  const components = useComponents().data;
  if (page.paused) return html`<${State} kind="warn">paused</${State}>`;
  const newest = Math.max(...topics.map((t) => stream.topics.get(t)?.at ?? -Infinity));
  if (!Number.isFinite(newest)) return html`<${State} kind="idle">no data yet</${State}>`;
  const quiet = (performance.now() - newest) / 1000;
  if (quiet < Math.min(2.5, STALE_AFTER_S)) return html`<${State} kind="ok">live</${State}>`;
  const done = components?.some((/** @type {any} */ c) => c.state === 'finished' && c.writes?.some((/** @type {string} */ w) => w.startsWith('nav.')));
  if (done && topics.every((t) => t.startsWith('nav.'))) return html`<${State} kind="idle">complete</${State}>`;
  return html`<${State} kind="warn">stale, ${age(quiet)}</${State}>`;
}

/**
 * @param {{title: string, class?: string, topics?: string[], csf?: string | null, curl?: string | null, extra?: any, children?: any,
 *   mark?: any, flush?: boolean}} props `topics` decide the live mark, `mark` replaces it
 */
export function Panel({ title, class: name, topics, csf, curl, extra, mark, children, flush }) {
  const id = `panel-${title.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`;
  return html`<section class=${cls('panel', name)} aria-labelledby=${id}>
    <header class="panel-head">
      <h2 id=${id}>${title}</h2>
      ${mark || (topics && html`<${Freshness} topics=${topics} />`)}
      <span class="spring"></span>
      ${extra}
      <${CopyButtons} csf=${csf} curl=${curl} what=${title} />
    </header>
    <div class=${cls('panel-body', flush && 'flush')}>${children}</div>
  </section>`;
}

/** An id unique on the page. @param {string} prefix */
export const uniqueId = (prefix) => `${prefix}-${(serial += 1)}`;
