// @ts-check
/** Two dialogs: go anywhere by name, and the help. */
import { html, useEffect, useRef, useState } from './html.js';
import { page } from '../lib/store.js';
import { router, VIEWS, makeHash } from '../lib/router.js';
import { useTopics, useComponents } from '../lib/api.js';
import { isId } from '../lib/ids.js';
import { filter } from '../lib/glob.js';
import { KEYS } from '../lib/keys.js';

/** @param {{title: string, children?: any}} props */
function Modal({ title, children }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const element = /** @type {HTMLDialogElement} */ (box.current);
    element.showModal();
    return () => element.close();
  }, []);
  const outside = (/** @type {MouseEvent} */ event) => { if (event.target === box.current) page.open(null); };
  return html`<dialog ref=${box} class="dialog" aria-label=${title} onClose=${() => page.open(null)} onClick=${outside}><div class="dialog-body">${children}</div></dialog>`;
}

export function GoDialog() {
  const topics = useTopics().data ?? [];
  const components = useComponents().data ?? [];
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const match = filter(text);
  const places = [
    ...(isId(text) ? [{ kind: 'packet', name: text.trim(), href: makeHash('why', text.trim()) }] : []),
    ...VIEWS.map((v) => ({ kind: 'view', name: v, href: makeHash(v) })),
    ...topics.map((/** @type {any} */ t) => ({ kind: 'topic', name: t.name, href: makeHash('topics', t.name) })),
    ...components.map((/** @type {any} */ c) => ({ kind: c.kind, name: c.name, href: makeHash('graph', c.name) })),
  ].filter((p) => p.kind === 'packet' || match(p.name, p.kind)).slice(0, 12);
  const chosen = Math.min(at, places.length - 1);
  const go = (/** @type {string} */ href) => {
    page.open(null);
    location.hash = href;
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt(Math.max(0, Math.min(places.length - 1, chosen + step)));
    else if (event.key === 'Enter' && places[chosen]) go(places[chosen].href);
    else return;
    event.preventDefault();
  };
  return html`<${Modal} title="Go to">
    <input class="field go-field" type="text" role="combobox" aria-expanded="true" aria-controls="go-list" aria-activedescendant=${places.length ? `go-${chosen}` : undefined}
      aria-label="View, topic, component or packet id" placeholder="View, topic, component or packet id" autocomplete="off" spellcheck=${false}
      value=${text} onInput=${(/** @type {any} */ e) => { setText(e.target.value); setAt(0); }} onKeyDown=${key} />
    <ul id="go-list" class="go-list" role="listbox" aria-label="Places">
      ${places.map((p, i) => html`<li id=${`go-${i}`} role="option" aria-selected=${i === chosen} class=${i === chosen ? 'on' : ''} onClick=${() => go(p.href)}><span>${p.name}</span><span class="muted">${p.kind}</span></li>`)}
    </ul>
    ${places.length === 0 && html`<p class="empty">Nothing by that name.</p>`}
  </${Modal}>`;
}

const WORDS = [
  ['stamp', 'hybrid logical time at which a packet entered the fabric; causes are always earlier than effects'],
  ['cause', 'the packet whose arrival made a component speak; Why shows the whole ancestry'],
  ['author', 'the component, service or operator that published'],
  ['position', 'gap-free number of a packet in the journal; durable means safe on disk'],
  ['NIS', 'normalised innovation squared: how surprising a fix was; 95 % should fall inside the band'],
  ['tilt', 'angle between the vehicle\u2019s and the world\u2019s vertical'],
];

export const HelpDialog = () => html`<${Modal} title="Help">
  <h2>Keys</h2>
  <dl class="help">${KEYS.map(([k, what]) => html`<dt>${k.split(' ').map((c) => (c === '…' ? ' … ' : html`<kbd>${c}</kbd>`))}</dt><dd>${what}</dd>`)}</dl>
  <h2>Words</h2>
  <dl class="help words">${WORDS.map(([k, what]) => html`<dt>${k}</dt><dd>${what}</dd>`)}</dl>
  <button type="button" class="button" onClick=${() => page.open(null)}>Close</button>
</${Modal}>`;
