// @ts-check
/** The smallest parts: a quantity with its unit, a link to a packet, icons, copy buttons, messages. */
import { html, cls } from './html.js';
import { NONE } from '../lib/format.js';
import { makeHash } from '../lib/router.js';
import { copy } from '../lib/commands.js';

/** A number and its unit. @param {{v: import('../lib/format.js').Quantity, class?: string}} props */
export const Q = ({ v, class: name }) => html`<span class=${cls('q', name)}>${v[0]}${v[1] && html`<span class="unit">${v[1] === '°' ? '' : ' '}${v[1]}</span>`}</span>`;

/** A packet's id; leads to its causes. @param {{id?: string | null, children?: any}} props */
export const PacketLink = ({ id, children }) => (id
  ? html`<a class="id" href=${makeHash('why', id)} title="Why: the causes of this packet">${children ?? id}</a>`
  : html`<span class="muted">${NONE}</span>`);

/** @param {{name: string}} props */
export const TopicLink = ({ name }) => html`<a class="topic" href=${makeHash('topics', name)}>${name}</a>`;

const ICONS = {
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  pause: 'M5.5 3v10M10.5 3v10',
  play: 'M5 3l8 5-8 5z',
  sun: 'M8 5a3 3 0 100 6 3 3 0 000-6zM8 1v2M8 13v2M1 8h2M13 8h2M3 3l1.4 1.4M11.6 11.6L13 13M3 13l1.4-1.4M11.6 4.4L13 3',
  moon: 'M13.5 9.5A6 6 0 016.5 2.5a6 6 0 107 7z',
  help: 'M6 6a2 2 0 113 1.7c-.7.4-1 .8-1 1.8M8 12.2v.1',
  go: 'M7 2.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9zM10.3 10.3L14 14',
  up: 'M8 13V4M4.5 7.5L8 4l3.5 3.5',
  down: 'M8 3v9M4.5 8.5L8 12l3.5-3.5',
  flag: 'M4 14V2.5h7.5L9.5 5.5l2 3H4',
  warn: 'M8 2.5L14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1',
  check: 'M3 8.5l3.2 3.2L13 5',
  cross: 'M4 4l8 8M12 4l-8 8',
  fit: 'M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5',
  plus: 'M8 3v10M3 8h10',
  minus: 'M3 8h10',
};

/** @param {{name: keyof typeof ICONS}} props */
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;

/** @param {{csf?: string | null, curl?: string | null, what: string}} props what: the panel's name, for the spoken label */
export const CopyButtons = ({ csf, curl, what }) => html`<span class="copies">
  ${csf && html`<button type="button" class="copy" title=${`Copy: ${csf}`} aria-label=${`Copy ${what} as csf command`} onClick=${() => copy(csf)}><${Icon} name="copy" />csf</button>`}
  ${curl && html`<button type="button" class="copy" title="Copy as a curl line" aria-label=${`Copy ${what} as curl line`} onClick=${() => copy(curl)}><${Icon} name="copy" />curl</button>`}
</span>`;

/** @param {{error: {message: string, code?: string, help?: string}}} props */
export const Failure = ({ error }) => html`<div class="failure" role="alert">
  <p><strong>${error.code || 'No answer'}</strong> ${error.message}</p>
  ${error.help && html`<p class="muted">${error.help}</p>`}
</div>`;

/** @param {{children?: any}} props */
export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

/** A state in words with a shape, so that colour is never alone. @param {{kind: 'ok' | 'warn' | 'bad' | 'idle', children?: any}} props */
export const State = ({ kind, children }) => html`<span class=${`state state-${kind}`}><span class="dot" aria-hidden="true"></span>${children}</span>`;

/** @param {string} state of a component or check @returns {'ok' | 'warn' | 'bad' | 'idle'} */
export function stateKind(state) {
  if (['running', 'ok', 'ready', 'healthy'].includes(state)) return 'ok';
  if (['failed', 'stuck', 'error', 'failing', 'unhealthy', 'down'].includes(state)) return 'bad';
  if (['starting', 'restarting', 'degraded', 'warning', 'unknown'].includes(state)) return 'warn';
  return 'idle';
}
