// @ts-check
/** Rates of all streams, latencies of the paths, and what the host watch found. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, PacketLink, Q, State, TopicLink } from '../ui/basics.js';
import { useTopics, useLatencies } from '../lib/api.js';
import { machine } from '../lib/machine.js';
import { latency } from '../lib/shapes.js';
import { useStores } from '../lib/store.js';
import { bytes, bytesPerSecond, clock, count, duration, fixed, hertz } from '../lib/format.js';
import { curl, curlSubscribe } from '../lib/commands.js';

export function Streams() {
  const found = useTopics();
  const topics = found.data ?? [];
  const most = Math.max(1, ...topics.map((/** @type {any} */ t) => t.rate_hz ?? 0));
  return html`<${Panel} title="Streams" csf="csf status --json" curl=${curl('/topics')} flush>
    ${found.error && html`<${Failure} error=${found.error} />`}
    <div class="scroll" tabindex="0" role="region" aria-label="Streams, scrollable"><table class="table">
      <thead><tr><th scope="col">Topic</th><th scope="col" class="num">Rate</th><th scope="col" class="bar-col"><span class="offscreen">Rate as a bar</span></th><th scope="col" class="num">Packets</th></tr></thead>
      <tbody>${topics.map((/** @type {any} */ t) => html`<tr key=${t.name}>
        <th scope="row"><${TopicLink} name=${t.name} /></th><td class="num"><${Q} v=${hertz(t.rate_hz)} /></td>
        <td class="bar-col"><span class="rate-bar" style=${{ width: `${(Math.log1p(t.rate_hz ?? 0) / Math.log1p(most)) * 100}%` }}></span></td>
        <td class="num">${count(t.packets)}</td></tr>`)}</tbody>
    </table></div>
  </${Panel}>`;
}

export function Latencies() {
  const found = useLatencies();
  const paths = (found.data ?? []).map(latency).sort((/** @type {any} */ a, /** @type {any} */ b) => b.count - a.count);
  return html`<${Panel} title="Latency, end to end" csf="csf status --json" curl=${curl('/latencies')} flush>
    ${found.error && html`<${Failure} error=${found.error} />`}
    ${found.data && !paths.length && html`<${Empty}>No path has carried a packet yet.</${Empty}>`}
    ${paths.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Latency, scrollable"><table class="table">
      <thead><tr><th scope="col">Path</th><th scope="col" class="num">p50</th><th scope="col" class="num">p99</th><th scope="col" class="num">Max</th><th scope="col" class="num">Count</th></tr></thead>
      <tbody>${paths.map((/** @type {any} */ p) => html`<tr key=${p.name}><th scope="row" class="path">${p.name}</th><td class="num"><${Q} v=${duration(p.p50)} /></td><td class="num"><${Q} v=${duration(p.p99)} /></td><td class="num"><${Q} v=${duration(p.max)} /></td><td class="num">${count(p.count)}</td></tr>`)}</tbody>
    </table></div>`}
  </${Panel}>`;
}

const SHOWN = 8;

export function Anomalies() {
  useStores(machine);
  const list = machine.anomalies.slice(0, SHOWN);
  return html`<${Panel} title="Anomalies" csf="csf tap host.anomaly" curl=${curlSubscribe('host.anomaly')} flush>
    ${!list.length ? html`<${Empty}>None: the machine behaves as it did.</${Empty}>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Anomalies, scrollable"><table class="table">
      <thead><tr><th scope="col">Time</th><th scope="col">What</th><th scope="col">Figure</th><th scope="col" class="num">Value</th><th scope="col" class="num">Expected</th><th scope="col" class="num">Distance</th></tr></thead>
      <tbody>${list.map((a) => html`<tr key=${a.packet.id}><td><${PacketLink} id=${a.packet.id}>${clock(a.packet.stamp)}</${PacketLink}></td><td><${State} kind=${a.raised ? (a.critical ? 'bad' : 'warn') : 'ok'}>${a.raised ? (a.critical ? 'critical' : 'warning') : `over after ${fixed(a.lasted, 0)} s`}</${State}></td><th scope="row">${a.stream}<span class="muted"> ${a.field}</span></th>
        <td class="num">${fieldValue(a.field, a.value)}</td><td class="num">${fieldValue(a.field, a.expected)}</td><td class="num"><${Q} v=${[fixed(a.sigma, 1), 'σ']} /></td></tr>`)}</tbody>
    </table></div>`}
  </${Panel}>`;
}

/** A field's unit is in its name. @param {string} field @param {unknown} v */
function fieldValue(field, v) {
  if (typeof v !== 'number') return '–';
  if (field.endsWith('_share')) return html`<${Q} v=${[fixed(v * 100, 1), '%']} />`;
  if (field.endsWith('bytes_per_s')) return html`<${Q} v=${bytesPerSecond(v)} />`;
  if (field.endsWith('_bytes')) return html`<${Q} v=${bytes(v)} />`;
  if (field.endsWith('_per_s')) return html`<${Q} v=${[count(v), '/s']} />`;
  if (field.endsWith('_ns')) return html`<${Q} v=${duration(v)} />`;
  return fixed(v);
}
