// @ts-check
/** One topic: last packet, live tail, schema, publish. */
import { html, cls, useEffect, useState, useRef } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, Icon, PacketLink } from '../ui/basics.js';
import { Tree } from '../ui/tree.js';
import { PublishForm } from './publish-form.js';
import { topicPath, useApi } from '../lib/api.js';
import { router } from '../lib/router.js';
import { stream } from '../lib/stream.js';
import { page, useStores } from '../lib/store.js';
import { clock, clockNs, count, fixed } from '../lib/format.js';
import { curl, curlSubscribe, quoted } from '../lib/commands.js';

/** @typedef {import('../lib/api.js').Packet} Packet */

const TABS = /** @type {const} */ (['last', 'tail', 'schema', 'publish']);
const TAIL_MAX = 200;

/** @param {{topic: string, summary: any}} props */
export function TopicDetail({ topic, summary }) {
  const [packets, held] = useTail(topic);
  // Decided once: the form must not start over because its own packet is the first.
  const [spoken] = useState(summary?.packets > 0);
  const tab = /** @type {readonly string[]} */ (TABS).includes(router.route.params.tab) ? router.route.params.tab : 'last';
  const [csf, line] = {
    last: [`csf sub ${quoted(topic)} -n 1 --json`, curl(topicPath(topic, '/last'))],
    tail: [`csf tap ${quoted(topic)}`, curlSubscribe(topic)],
    schema: [null, curl(topicPath(topic, '/schema'))],
    publish: [null, null],
  }[tab] ?? [null, null];
  return html`<${Panel} title=${topic} class="topic-detail" topics=${[topic]} csf=${csf} curl=${line}>
    ${summary?.doc && html`<p class="muted doc">${prose(summary.doc)}${summary.recorded ? '' : ' Not recorded.'}</p>`}
    <div class="segments" role="tablist" aria-label="What to show">${TABS.map((name) => html`<button type="button" role="tab" id=${`tab-${name}`} aria-selected=${tab === name} aria-controls="tab-panel" class=${cls('segment', tab === name && 'on')} onClick=${() => router.set({ tab: name })}>${name[0].toUpperCase() + name.slice(1)}</button>`)}</div>
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === 'last' && (packets[0] ? html`<${PacketView} packet=${packets[0]} />` : summary?.packets ? html`<${Last} topic=${topic} />` : html`<${Empty}>No packet yet.</${Empty}>`)}
      ${tab === 'tail' && html`<${Tail} packets=${packets} held=${held} />`}
      ${tab === 'schema' && html`<${Schema} topic=${topic} />`}
      ${tab === 'publish' && html`<${PublishForm} topic=${topic} spoken=${spoken} />`}
    </div>
  </${Panel}>`;
}

/** The newest packets of the topic, newest first, and how to hold them still. @param {string} topic @returns {[Packet[], {on: boolean, toggle: () => void}]} */
function useTail(topic) {
  useStores(stream, page);
  const packets = useRef(/** @type {Packet[]} */ ([]));
  const frozen = useRef(/** @type {Packet[] | null} */ (null));
  const [, draw] = useState(0);
  useEffect(() => stream.listen(topic, (packet) => {
    packets.current = [packet, ...packets.current.slice(0, TAIL_MAX - 1)];
  }), [topic]);
  const toggle = () => {
    frozen.current = frozen.current ? null : packets.current;
    draw((/** @type {number} */ n) => n + 1);
  };
  return [frozen.current ?? packets.current, { on: frozen.current !== null, toggle }];
}

/** @param {{topic: string}} props */
function Last({ topic }) {
  const found = useApi(topicPath(topic, '/last'), 0);
  if (!found.data) return found.error ? html`<${Failure} error=${found.error} />` : html`<${Empty}>Reading …</${Empty}>`;
  return html`<${PacketView} packet=${found.data} />`;
}

/** Epoch clocks as a time of day, others in seconds of their own. @param {{clock: string, ns: string}} at */
const measured = (at) => (at.ns.length >= EPOCH_DIGITS ? `${clockNs(at.ns)}, ${at.clock}` : `${fixed(Number(at.ns) / 1e9, 6)} s, ${at.clock}`);
/** Nanoseconds since 1970 have this many digits until the year 2286. */
const EPOCH_DIGITS = 19;

/** A packet: envelope, then payload. @param {{packet: Packet}} props */
export const PacketView = ({ packet }) => html`<dl class="facts envelope">
    <dt>Packet</dt><dd><${PacketLink} id=${packet.id} /></dd><dt>Author</dt><dd>${packet.author}</dd>
    <dt>Stamp</dt><dd class="mono">${clockNs(packet.stamp)}</dd>
    ${packet.measured_at && html`<dt>Measured</dt><dd class="mono">${measured(packet.measured_at)}</dd>`}
    ${packet.cause && html`<dt>Cause</dt><dd><${PacketLink} id=${packet.cause} /></dd>`}
    ${packet.position !== undefined && html`<dt>Position</dt><dd>${count(packet.position)}</dd>`}
  </dl><${Tree} value=${packet.payload} />`;

/** @param {{packets: Packet[], held: {on: boolean, toggle: () => void}}} props */
function Tail({ packets, held }) {
  return html`<div class="row"><button type="button" class="button" aria-pressed=${held.on} onClick=${held.toggle}><${Icon} name=${held.on ? 'play' : 'pause'} />${held.on ? 'Continue' : 'Pause'}</button><span class="muted">newest first, at most 20 a second, ${count(packets.length)} kept</span></div>
    ${!packets.length && html`<${Empty}>Nothing yet.</${Empty}>`}
    <ol class="tail scroll" tabindex="0" aria-label="Packets, newest first">${packets.slice(0, 60).map((p) => html`<li key=${p.id}><span class="mono">${clock(p.stamp)}</span><${PacketLink} id=${p.id} /><code>${JSON.stringify(p.payload, short)}</code></li>`)}</ol>`;
}

/** Four significant digits are enough in a line. @param {string} _key @param {any} v */
const short = (_key, v) => (typeof v === 'number' && !Number.isInteger(v) ? Number(v.toPrecision(4)) : v);

/** @param {{topic: string}} props */
function Schema({ topic }) {
  const found = useApi(topicPath(topic, '/schema'), 0);
  if (found.error) return html`<${Failure} error=${found.error} />`;
  if (!found.data) return html`<${Empty}>Reading …</${Empty}>`;
  const required = new Set(found.data.required ?? []);
  const fields = Object.entries(found.data.properties ?? {});
  return html`<p><span class="mono">${found.data.title}</span></p>
    <dl class="schema">${fields.map(([name, field]) => html`<dt><code>${name}</code>${required.has(name) && html`<span class="tag">required</span>`}</dt><dd><span class="mono">${typeName(field)}</span> <span class="muted">${prose(/** @type {any} */ (field).description)}</span></dd>`)}</dl>
    <details><summary>JSON Schema</summary><pre class="scroll" tabindex="0" role="region" aria-label="JSON Schema">${JSON.stringify(found.data, null, 2)}</pre></details>`;
}

/** Words of a schema; what stands in backticks is code. @param {string | undefined} words */
export const prose = (words) => (words ?? '').split('`').map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));

/** The values of an enumeration, which schemars writes as `oneOf` constants where they are documented; null for anything else. @param {any} s @returns {any[] | null} */
export function constants(s) {
  const list = s.enum ?? s.oneOf?.map((/** @type {any} */ o) => o.const);
  return list?.every((/** @type {any} */ v) => v !== undefined) ? list : null;
}

/** A field's type in a few letters. @param {any} s @returns {string} */
export function typeName(s) {
  if (s === true || !s) return 'any';
  if (s.$ref) return s.$ref.split('/').pop();
  const choices = constants(s);
  if (choices) return choices.map((/** @type {any} */ e) => JSON.stringify(e)).join(' | ');
  if (s.anyOf ?? s.oneOf) return (s.anyOf ?? s.oneOf).map(typeName).join(' | ');
  if (Array.isArray(s.type)) return s.type.map((/** @type {string} */ type) => typeName({ ...s, type })).join(' | ');
  if (s.type === 'array') return `${typeName(s.items ?? s.prefixItems?.[0])}[${s.maxItems && s.maxItems === s.minItems ? s.maxItems : ''}]`;
  return s.type ?? 'any';
}
