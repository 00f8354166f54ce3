// @ts-check
/** The node: how it booted, how it is, what runs in it, where it writes, what it runs on. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, Q, State, stateKind, TopicLink } from '../ui/basics.js';
import { useApi, useComponents, useNode } from '../lib/api.js';
import { useReady } from '../lib/ready.js';
import { makeHash } from '../lib/router.js';
import { bytes, count, date, duration, fixed, hertz, text, NONE } from '../lib/format.js';
import { curl, quoted } from '../lib/commands.js';
import * as shapes from '../lib/shapes.js';
import { Configuration } from './configuration.js';

export function Node() {
  const found = useNode();
  const node = found.data;
  const components = useComponents().data;
  const health = useApi('/health', 3000).data;
  useReady(node !== null && components !== null && health !== null);
  if (!node) return found.error ? html`<${Failure} error=${found.error} />` : html`<${Empty}>Asking the node …</${Empty}>`;
  return html`<h1 class="offscreen">Node</h1>
    <div class="node-grid">
      <div class="stack"><${Identity} node=${node} /><${Journal} node=${node} /><${Health} /><${Configuration} /></div>
      <${Boot} node=${node} />
    </div>
    <${Components} />`;
}

/** @param {{node: any}} props */
const Identity = ({ node }) => html`<${Panel} title="Node" csf="csf status" curl=${curl('/node')}>
  <dl class="facts">
    <dt>Name</dt><dd>${node.name}, id ${node.node_id}, incarnation ${node.incarnation}</dd>
    <dt>State</dt><dd><${State} kind=${stateKind(node.state)}>${node.state}</${State}>${node.simulated ? html` <span class="tag">simulated</span>` : ''}</dd>
    <dt>Version</dt><dd>${node.version} <span class="mono muted">${node.build_id}</span></dd>
    <dt>Started</dt><dd>${date(node.started_at)}, up <${Q} v=${duration(Number(node.uptime_ns))} /></dd>
    <dt>Memory</dt><dd><${Q} v=${bytes(node.process?.resident_bytes)} />, peak <${Q} v=${bytes(node.process?.peak_resident_bytes)} /></dd>
    <dt>Machine</dt><dd>${node.machine?.cpu}, ${count(node.machine?.cores)} cores, <${Q} v=${bytes(node.machine?.memory_bytes)} /></dd>
    <dt>Kernel</dt><dd>${node.machine?.kernel}</dd>
  </dl></${Panel}>`;

/** @param {{node: any}} props */
function Journal({ node }) {
  const j = node.journal;
  if (!j) return null;
  const behind = (j.head_position ?? j.durable_position) - j.durable_position;
  return html`<${Panel} title="Journal" csf=${`csf replay ${quoted(j.directory)}`} curl=${curl('/node')}>
    <dl class="facts">
      <dt>Size</dt><dd><${Q} v=${bytes(j.bytes)} /></dd>
      <dt>Head</dt><dd>position ${count(j.head_position)}</dd>
      <dt>Durable</dt><dd>position ${count(j.durable_position)}, <${State} kind=${behind > 5000 ? 'warn' : 'ok'}>${behind === 0 ? 'all on disk' : `${count(behind)} behind`}</${State}></dd>
      <dt>Sync</dt><dd>${j.sync}</dd>
      ${j.failure && html`<dt>Failure</dt><dd><${State} kind="bad">${j.failure}</${State}></dd>`}
      <dt>Directory</dt><dd class="mono wrap">${j.directory}</dd>
    </dl></${Panel}>`;
}

/** Phases as bars one after the other. @param {{node: any}} props */
function Boot({ node }) {
  const phases = node.phases ?? [];
  const total = Math.max(node.boot_ms ?? 0, phases.reduce((/** @type {number} */ s, /** @type {any} */ p) => s + p.ms, 0)) || 1;
  let before = 0;
  return html`<${Panel} title="Boot" csf="csf status --json" curl=${curl('/node')} extra=${html`<span class="panel-note">ready after <b>${fixed(node.boot_ms, 0)}</b> ms</span>`}>
    <ol class="boot">${phases.map((/** @type {any} */ p) => {
    const left = (before / total) * 100;
    before += p.ms;
    return html`<li key=${p.number}><span class="boot-name">${p.name}</span><span class="boot-ms"><${Q} v=${duration(p.ms * 1e6)} /></span>
        <span class="boot-track"><span class="boot-bar" style=${{ left: `${left}%`, width: `${Math.max(0.5, (p.ms / total) * 100)}%` }}></span></span><span class="boot-detail">${p.detail}</span></li>`;
  })}</ol><p class="muted">Outside the phases, such as opening the recording: <${Q} v=${duration((total - before) * 1e6)} /></p></${Panel}>`;
}

function Health() {
  const found = useApi('/health', 3000);
  const { status, checks } = shapes.health(found.data);
  return html`<${Panel} title="Health" csf="csf doctor" curl=${curl('/health')} extra=${found.data && html`<${State} kind=${stateKind(status)}>${status}</${State}>`}>
    ${found.error && html`<${Failure} error=${found.error} />`}
    <ul class="checks">${checks.map((/** @type {any} */ c) => html`<li key=${c.name}><span class="check-name">${c.name}</span><${State} kind=${stateKind(c.status)}>${c.status}</${State}>${c.message && html`<span class="muted">${c.message}</span>`}</li>`)}</ul>
  </${Panel}>`;
}

/** A component that has handled nothing has no latency. @param {any} c */
const latencyOf = (c) => (c.latency_ns?.count === 0 ? null : c.latency_ns);

function Components() {
  const found = useComponents();
  const list = found.data ?? [];
  return html`<${Panel} title="Components and services" csf="csf status --json" curl=${curl('/components')} flush>
    ${found.error && html`<${Failure} error=${found.error} />`}
    <div class="scroll" tabindex="0" role="region" aria-label="Components, scrollable"><table class="table hover">
      <thead><tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">State</th><th scope="col" class="wider-only">Writes</th><th scope="col" class="num">Rate</th><th scope="col" class="num">Handled</th><th scope="col" class="num">Published</th><th scope="col" class="num">p50</th><th scope="col" class="num">p99</th><th scope="col" class="num">Max</th><th scope="col" class="num">Queue</th><th scope="col" class="num">Restarts</th><th scope="col" class="num">Faults</th></tr></thead>
      <tbody>${list.map((/** @type {any} */ c) => html`<tr key=${c.name} data-row=""><th scope="row"><a href=${makeHash('graph', c.name)}>${c.name}</a></th><td class="muted">${c.type}</td><td><${State} kind=${stateKind(c.state)}>${c.state}${c.progress > 0 && c.progress < 1 ? ` ${fixed(c.progress * 100, 0)} %` : ''}</${State}></td>
        <td class="wider-only">${c.writes?.length ? c.writes.slice(0, 3).map((/** @type {string} */ w, /** @type {number} */ i) => html`${i > 0 && ', '}<${TopicLink} name=${w} />`) : NONE}${c.writes?.length > 3 && html`<span class="muted"> and ${c.writes.length - 3} more</span>`}</td>
        <td class="num"><${Q} v=${hertz(c.rate_hz)} /></td><td class="num">${count(c.handled)}</td><td class="num">${count(c.published)}</td>
        <td class="num">${text(duration(latencyOf(c)?.p50))}</td><td class="num">${text(duration(latencyOf(c)?.p99))}</td><td class="num">${text(duration(latencyOf(c)?.max))}</td>
        <td class="num">${count(c.queue)}</td><td class="num">${count(c.restarts)}</td><td class="num">${count(c.faults)}</td></tr>`)}</tbody>
    </table></div>
  </${Panel}>`;
}
