// @ts-check
/** Why a packet exists: its causes as a tree, with authors and times; or its trace from the sources to its effects. */
import { html, cls, useEffect, useState } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, PacketLink, TopicLink } from '../ui/basics.js';
import { PacketView, prose } from './topic-detail.js';
import { useApi, useTopics } from '../lib/api.js';
import { router, makeHash } from '../lib/router.js';
import { useReady } from '../lib/ready.js';
import { useStores } from '../lib/store.js';
import { stream } from '../lib/stream.js';
import { elapsedNs, isId } from '../lib/ids.js';
import { clockNs, count, duration, text } from '../lib/format.js';
import { curl } from '../lib/commands.js';
import { trace } from '../lib/shapes.js';

/** The node answers no deeper than this. */
const DEEPEST = 32;

/** @typedef {{packet: any, relation?: string, elapsed_ns?: number, truncated?: number, causes?: Cause[]}} Cause */

export function Why() {
  useStores(router);
  const { arg, params } = router.route;
  const [draft, setDraft] = useState(arg);
  useEffect(() => setDraft(arg), [arg]);
  const bad = draft !== '' && !isId(draft);
  const go = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isId(draft)) router.go('why', draft.trim());
  };
  return html`<h1 class="offscreen">Why</h1>
    <form class="why-form" onSubmit=${go}>
      <label for="why-id">Packet</label>
      <input id="why-id" class="field mono" data-filter="" type="text" value=${draft} placeholder="1.1.3-42" spellcheck=${false} autocomplete="off" aria-invalid=${bad} aria-describedby="why-hint" onInput=${(/** @type {any} */ e) => setDraft(e.target.value)} />
      <button type="submit" class="button primary" disabled=${!isId(draft)}>Explain</button>
      <span id="why-hint" class=${bad ? 'problem' : 'muted'}>${bad ? 'An id reads node.incarnation.lane-sequence, such as 1.1.3-42.' : 'Ids are links everywhere; this field takes any.'}</span>
    </form>
    ${arg ? html`<${Explained} key=${arg} id=${arg} view=${params.view === 'trace' ? 'trace' : 'causes'} depth=${Number(params.depth) || 6} />` : html`<${Start} />`}`;
}

/** Somewhere to begin: the newest packet of each topic. */
function Start() {
  useStores(stream);
  const found = useTopics().data;
  const topics = found ?? [];
  useReady(found !== null && stream.topics.size > 0);
  const list = [...stream.topics.entries()].sort(([a], [b]) => a.localeCompare(b));
  return html`<${Panel} title="Newest packets" csf="csf tap '>'" flush>
    ${!list.length ? html`<${Empty}>Nothing has arrived yet.</${Empty}>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Newest packets, scrollable"><table class="table hover"><thead><tr><th scope="col">Topic</th><th scope="col">Packet</th><th scope="col">Stamp</th><th scope="col" class="wide-only">What it is</th></tr></thead>
    <tbody>${list.map(([topic, seen]) => html`<tr key=${topic}><th scope="row"><${TopicLink} name=${topic} /></th><td><${PacketLink} id=${seen.id} /></td><td class="mono">${clockNs(seen.stamp)}</td><td class="muted wide-only words-cell">${prose(topics.find((/** @type {any} */ t) => t.name === topic)?.doc)}</td></tr>`)}</tbody></table></div>`}
  </${Panel}>`;
}

/** @param {{id: string, view: 'causes' | 'trace', depth: number}} props */
function Explained({ id, view, depth }) {
  const path = view === 'trace' ? `/packets/${id}/trace` : `/packets/${id}/why?depth=${depth}`;
  const found = useApi(path, 0);
  const packet = useApi(`/packets/${id}`, 0);
  const [looked, setLooked] = useState(/** @type {any} */ (null));
  const shown = looked ?? packet.data;
  useReady(Boolean((found.data || found.error) && (shown || packet.error)));
  return html`<div class="with-aside why-page">
    <${Panel} title=${view === 'trace' ? 'Trace' : 'Causes'} csf=${view === 'trace' ? `csf trace ${id}` : `csf why ${id} --depth ${depth}`} curl=${curl(path)} flush
      extra=${html`<span class="segments small" role="group" aria-label="What to show">${['causes', 'trace'].map((v) => html`<button type="button" aria-pressed=${v === view} class=${cls('segment', v === view && 'on')} onClick=${() => router.set({ view: v === 'causes' ? null : v })}>${v === 'causes' ? 'Causes' : 'Trace'}</button>`)}</span>`}>
      ${found.error && html`<${Failure} error=${found.error} />`}
      ${!found.data && !found.error && html`<${Empty}>Asking the journal …</${Empty}>`}
      ${found.data && view === 'causes' && html`<${CauseTable} root=${found.data} id=${id} depth=${depth} look=${setLooked} />`}
      ${found.data && view === 'trace' && html`<${TraceTable} answer=${found.data} id=${id} look=${setLooked} />`}
    </${Panel}>
    ${shown && html`<${Panel} title="Packet" csf=${`csf why ${shown.id} --depth 1 --json`} curl=${curl(`/packets/${shown.id}`)}>
      <p><${TopicLink} name=${shown.topic} /></p><${PacketView} packet=${shown} />
    </${Panel}>`}
  </div>`;
}

/** The tree in reading order, with what is needed to draw its lines. @param {Cause} root */
function flat(root) {
  /** @type {{cause: Cause, level: number, rails: boolean[], last: boolean}[]} */
  const rows = [];
  const walk = (/** @type {Cause} */ cause, /** @type {number} */ level, /** @type {boolean[]} */ rails, /** @type {boolean} */ last) => {
    rows.push({ cause, level, rails, last });
    const causes = cause.causes ?? [];
    causes.forEach((c, i) => walk(c, level + 1, level === 0 ? [] : [...rails, !last], i === causes.length - 1));
  };
  walk(root, 0, [], true);
  return rows;
}

/** @param {{root: Cause, id: string, depth: number, look: (p: any) => void}} props */
function CauseTable({ root, id, depth, look }) {
  const rows = flat(root);
  const before = rows.map((r) => elapsedNs(root.packet.stamp, r.cause.packet.stamp) ?? 0);
  const farthest = Math.max(1, ...before);
  const left = rows.reduce((n, r) => n + (r.cause.truncated ?? 0), 0);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Causes, scrollable"><table class="table hover causes">
    <thead><tr><th scope="col">Cause</th><th scope="col">Packet</th><th scope="col">Author</th><th scope="col" class="num">Before effect</th><th scope="col" class="wide-only">Before this packet</th><th scope="col" class="wide-only">Stamp</th></tr></thead>
    <tbody>${rows.map((r, i) => html`<tr key=${`${r.cause.packet.id}:${i}`} data-row="" onMouseEnter=${() => look(r.cause.packet.payload !== undefined ? r.cause.packet : null)} onFocusCapture=${() => look(r.cause.packet.payload !== undefined ? r.cause.packet : null)}>
      <th scope="row"><div class="cause"><span class="rails" aria-hidden="true">${r.rails.map((on) => html`<span class=${cls('rail', on && 'on')}></span>`)}${r.level > 0 && html`<span class=${cls('joint', r.last && 'end')}></span>`}</span>
        <a class="topic" href=${makeHash('topics', r.cause.packet.topic)}>${r.cause.packet.topic}</a><span class=${`relation relation-${r.level === 0 ? 'self' : r.cause.relation}`}>${r.level === 0 ? 'this packet' : r.cause.relation}</span>
        ${(r.cause.truncated ?? 0) > 0 && html`<span class="muted">+${count(r.cause.truncated)} more</span>`}</div></th>
      <td><${PacketLink} id=${r.cause.packet.id} /></td><td>${r.cause.packet.author}</td>
      <td class="num">${r.level === 0 ? '' : text(duration(r.cause.elapsed_ns))}</td>
      <td class="wide-only"><span class="before"><span class="before-bar" style=${{ width: `${(before[i] / farthest) * 100}%` }}></span></span><span class="before-text">${r.level === 0 ? '' : text(duration(before[i]))}</span></td>
      <td class="mono wide-only">${clockNs(r.cause.packet.stamp)}</td></tr>`)}</tbody>
  </table></div>
  <p class="foot">${count(rows.length - 1)} causes to depth ${depth}${left && depth < DEEPEST ? html`, ${count(left)} more beyond it: <a href=${makeHash('why', id, { depth: Math.min(DEEPEST, depth * 2) })}>go to depth ${Math.min(DEEPEST, depth * 2)}</a>` : left ? `, ${count(left)} more are not shown` : '; the tree is complete'}.</p>`;
}

/** @param {{answer: any, id: string, look: (p: any) => void}} props */
function TraceTable({ answer, id, look }) {
  const hops = trace(answer);
  const first = hops[0]?.packet.stamp;
  if (!hops.length) return html`<${Empty}>No hops.</${Empty}>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Trace, scrollable"><table class="table hover">
    <thead><tr><th scope="col" class="num">Since source</th><th scope="col">Topic</th><th scope="col">Packet</th><th scope="col">Author</th><th scope="col" class="num">Hop</th><th scope="col" class="wide-only">Stamp</th></tr></thead>
    <tbody>${hops.map((/** @type {any} */ h, /** @type {number} */ i) => html`<tr key=${h.packet.id} data-row="" class=${cls(h.packet.id === id && 'on')} onMouseEnter=${() => look(h.packet.payload !== undefined ? h.packet : null)}>
      <td class="num">${text(duration(elapsedNs(h.packet.stamp, first)))}</td><th scope="row"><${TopicLink} name=${h.packet.topic} /> ${h.packet.id === id ? html`<span class="relation relation-self">this packet</span>` : html`<span class=${`relation relation-${h.relation}`}>${h.relation}</span>`}</th><td><${PacketLink} id=${h.packet.id} /></td><td>${h.packet.author}</td>
      <td class="num">${i ? `+${text(duration(elapsedNs(h.packet.stamp, hops[i - 1].packet.stamp)))}` : 'source'}</td><td class="mono wide-only">${clockNs(h.packet.stamp)}</td></tr>`)}</tbody>
  </table></div>`;
}
