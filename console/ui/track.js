// @ts-check
/** The ground track: north up, east right, metres, the same scale on both axes. */
import { html, useMemo } from './html.js';
import { flight } from '../lib/flight.js';
import { simplify } from '../lib/thin.js';
import { niceStep, range } from '../lib/statistics.js';
import { fixed } from '../lib/format.js';

const W = 360;
const H = 245;
const EDGE = { left: 30, right: 8, top: 8, bottom: 20 };

/** @param {{cursor: number | null, version: number}} props cursor in the lists' own seconds; version redraws the path */
export function Track({ cursor, version }) {
  const drawn = useMemo(() => layout(), [version]);
  if (!drawn) return html`<div class="empty track-empty">Waiting for the first fused position.</div>`;
  const { x, y, paths, fixes, ticks } = drawn;
  const here = flight.at('nav.state', cursor);
  const peer = flight.at('nav.peer', cursor);
  const label = `Ground track. Vehicle at ${fixed(here?.north)} m north, ${fixed(here?.east)} m east.`;
  return html`<svg class="track" viewBox=${`0 0 ${W} ${H}`} role="img" aria-label=${label}>
    <g class="track-grid">
      ${ticks.east.map((/** @type {number} */ v) => html`<line x1=${x(v)} x2=${x(v)} y1=${EDGE.top} y2=${H - EDGE.bottom} /><text class="tick tick-x" x=${x(v)} y=${H - 6}>${fixed(v, ticks.digits)}</text>`)}
      ${ticks.north.map((/** @type {number} */ v) => html`<line x1=${EDGE.left} x2=${W - EDGE.right} y1=${y(v)} y2=${y(v)} /><text class="tick tick-y" x=${EDGE.left - 5} y=${y(v) + 3.5}>${fixed(v, ticks.digits)}</text>`)}
    </g>
    <text class="axis-name" x=${W - EDGE.right - 3} y=${H - EDGE.bottom - 5} text-anchor="end">east, m</text>
    <text class="axis-name" x=${EDGE.left + 5} y=${EDGE.top + 11}>north, m</text>
    ${fixes.map((/** @type {any} */ f) => html`<circle class="fix" cx=${x(f.east)} cy=${y(f.north)} r="2.6" />`)}
    <path class="line-peer" d=${paths.peer} /><path class="line-fused" d=${paths.fused} />
    ${peer?.north != null && html`<circle class="peer-now" cx=${x(peer.east)} cy=${y(peer.north)} r="4" />`}
    ${here?.north != null && html`<g transform=${`translate(${x(here.east)} ${y(here.north)}) rotate(${here.yaw ?? 0})`}><circle class="halo" r="11" /><path class="vehicle" d="M0 -9l6 14l-6 -4l-6 4z" /></g>`}
  </svg>`;
}

function layout() {
  const fused = flight.states.filter((s) => s.north !== null);
  if (!fused.length) return null;
  const peer = flight.lists['nav.peer'].filter((s) => s.north !== null);
  const fixes = flight.fixes();
  const all = [...fused, ...peer, ...fixes];
  const north = /** @type {[number, number]} */ (range(all.map((s) => s.north)));
  const east = /** @type {[number, number]} */ (range(all.map((s) => s.east)));
  const plot = { w: W - EDGE.left - EDGE.right, h: H - EDGE.top - EDGE.bottom };
  const span = Math.max((east[1] - east[0]) / plot.w, (north[1] - north[0]) / plot.h, 1 / plot.h) * 1.14;
  const middle = { east: (east[0] + east[1]) / 2, north: (north[0] + north[1]) / 2 };
  const x = (/** @type {number} */ v) => EDGE.left + plot.w / 2 + (v - middle.east) / span;
  const y = (/** @type {number} */ v) => EDGE.top + plot.h / 2 - (v - middle.north) / span;
  const path = (/** @type {any[]} */ list) => simplify(list.map((s) => [x(s.east), y(s.north)]), 0.35)
    .map(([a, b], i) => `${i ? 'L' : 'M'}${a.toFixed(1)} ${b.toFixed(1)}`).join('');
  const step = niceStep(plot.w * span, 5);
  const ticks = (/** @type {number} */ m, /** @type {number} */ half) => {
    const out = [];
    for (let v = Math.ceil((m - half) / step) * step; v <= m + half; v += step) out.push(Math.abs(v) < step / 1e6 ? 0 : v);
    return out;
  };
  return {
    x, y, fixes,
    paths: { fused: path(fused), peer: path(peer) },
    ticks: { digits: step < 1 ? 1 : 0, east: ticks(middle.east, (plot.w / 2) * span * 0.97), north: ticks(middle.north, (plot.h / 2) * span * 0.95) },
  };
}
