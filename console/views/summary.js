// @ts-check
/** The figures one asks for first. */
import { html } from '../ui/html.js';
import { Q } from '../ui/basics.js';
import { flight } from '../lib/flight.js';
import { useNode, useTopics, useLatencies } from '../lib/api.js';
import * as shapes from '../lib/shapes.js';
import { quantity, percent, duration, bytes, count, text, fixed } from '../lib/format.js';

/** @param {{label: string, v: import('../lib/format.js').Quantity, sub?: any, kind?: string}} props */
const Figure = ({ label, v, sub, kind }) => html`<div class=${`figure ${kind ?? ''}`}><dt>${label}</dt><dd><${Q} v=${v} /><span class="sub">${sub ?? '\u00a0'}</span></dd></div>`;

export function Summary() {
  const node = useNode().data;
  const topics = useTopics().data ?? [];
  const path = mainPath(useLatencies().data ?? []);
  const score = flight.lists['nav.score'].findLast((s) => s.valid) ?? flight.at('nav.score', null);
  const newest = flight.at('nav.score', null);
  const phase = flight.at('nav.phase', null);
  const rate = topics.reduce((/** @type {number} */ sum, /** @type {any} */ t) => sum + (t.rate_hz ?? 0), 0);
  const packets = topics.reduce((/** @type {number} */ sum, /** @type {any} */ t) => sum + (t.packets ?? 0), 0);
  const state = topics.find((/** @type {any} */ t) => t.name === 'nav.state');
  const journal = node?.journal;
  const behind = journal ? journal.head_position - journal.durable_position : null;
  const against = score ? `RMS against ${score.reference}` : 'RMS against the peer';
  const flies = flight.backfill !== 'absent';
  return html`<section class="summary" aria-label="Summary"><dl class=${flies ? '' : 'short'}>
    ${flies && html`
    <${Figure} label="Flight time" v=${flight.states.length ? quantity(flight.end - flight.start, 's', 1) : ['–', '']} sub=${phase ? (phase.airborne ? 'airborne' : 'on ground') : flight.backfill === 'empty' ? 'no flight yet' : '\u00a0'} />
    <${Figure} label="Fused states" v=${[count(state?.packets), '']} sub=${state?.rate_hz > 0.5 ? text([fixed(state.rate_hz, 0), 'Hz']) : 'recording complete'} />
    <${Figure} label="Position error" v=${quantity(score?.positionRms, 'm', 3)} sub=${against} />
    <${Figure} label="Height error" v=${quantity(score?.heightRms, 'm', 3)} sub=${against} />
    <${Figure} label="Tilt error" v=${quantity(score?.tiltRms, '°')} sub=${against} />
    <${Figure} label="NIS in 95 % band" v=${percent(newest?.nisShare, 0)} sub=${newest?.nisBelow != null ? `${text(percent(newest.nisBelow, 0))} below its top` : 'share of fixes'} />`}
    ${!flies && html`<${Figure} label="Up" v=${duration(node ? Number(node.uptime_ns) : null)} sub=${node?.state} /><${Figure} label="Memory" v=${bytes(node?.process?.resident_bytes)} sub=${`peak ${text(bytes(node?.process?.peak_resident_bytes))}`} />`}
    <${Figure} label="Latency p50" v=${duration(path?.p50)} sub=${path ? `p99 ${text(duration(path.p99))}` : 'nothing measured yet'} />
    <${Figure} label="Packets" v=${[topics.length ? fixed(rate, 0) : '–', topics.length ? '/s' : '']} sub=${`${count(packets)} in all`} />
    <${Figure} label="Journal" v=${bytes(journal?.bytes)} sub=${journal ? (behind === 0 ? `durable to ${count(journal.durable_position)}` : `durable, ${count(behind)} behind`) : '\u00a0'} />
  </dl></section>`;
}

/** The path of the main job: from an IMU sample to the state it caused. @param {any[]} list */
function mainPath(list) {
  const paths = list.map(shapes.latency);
  return paths.find((p) => /imu/.test(p.name) && /state/.test(p.name)) ?? paths.find((p) => /state/.test(p.name)) ?? paths[0];
}
