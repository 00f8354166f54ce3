// @ts-check
/** The flight over its own time: events, height, speed, error against the peer, NIS; one time axis and one cursor for all. */
import { html, useMemo } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Chart } from '../ui/chart.js';
import { Timeline } from '../ui/timeline.js';
import { flight } from '../lib/flight.js';
import { router } from '../lib/router.js';
import { minMaxIndices } from '../lib/thin.js';
import { chi2Band95 } from '../lib/statistics.js';
import { fixed } from '../lib/format.js';
import { curl } from '../lib/commands.js';

const BUCKETS = 350;
const TOPICS = ['nav.state', 'nav.score'];

/** @typedef {import('../ui/chart.js').Line} Line */

/** @param {string} topic @param {string} field @param {Partial<Line>} look @returns {Line} */
function line(topic, field, look) {
  const list = topic === 'nav.score' ? flight.lists[topic].filter((s) => s.valid) : flight.lists[topic];
  const values = list.map((s) => s[field]);
  const keep = minMaxIndices(values, BUCKETS);
  return /** @type {Line} */ ({ x: keep.map((i) => list[i].t - flight.start), y: keep.map((i) => values[i]), ...look });
}

/** @param {string} source @param {Partial<Line>} look @returns {Line} */
function nisLine(source, look) {
  const list = flight.nis.get(source) ?? [];
  return /** @type {Line} */ ({ x: list.map((s) => s.t - flight.start), y: list.map((s) => Math.max(s.nis, NIS_FLOOR)), points: true, ...look });
}

const FUSED = { label: 'fused', color: '--fused' };
/** The fix has three degrees of freedom, and so has its velocity: one band serves both. */
const FIX_DEGREES = 3;
/** Below this a fix agrees so well that the exact figure says nothing. */
const NIS_FLOOR = 1e-4;

function strips() {
  const peer = { label: flight.reference(), color: '--peer', dash: [5, 3] };
  const error = { topic: 'nav.score', zero: true, judged: true };
  return [
    { name: 'Height', unit: 'm', height: 86, lines: [line('nav.peer', 'height', peer), line('nav.state', 'height', FUSED)], least: 1 },
    { name: 'Ground speed', unit: 'm/s', height: 62, lines: [line('nav.peer', 'horizontalSpeed', peer), line('nav.state', 'horizontalSpeed', FUSED)], zero: true, least: 0.5 },
    { name: `Error against ${flight.reference()}`, unit: 'm', height: 66, least: 0.05, digits: 3, ...error,
      lines: [line('nav.score', 'position', { label: 'horizontal', color: '--fused' }), line('nav.score', 'height', { label: 'height', color: '--third', dash: [2, 2] })],
      rms: ['positionRms', 'heightRms'] },
    { name: 'Tilt error', unit: '°', height: 52, least: 0.5, ...error, lines: [line('nav.score', 'tilt', { label: 'tilt', color: '--fused' })], rms: ['tiltRms'] },
    { name: 'NIS', unit: '', height: 72, log: true, band: chi2Band95(FIX_DEGREES), axis: true,
      lines: [nisLine('gnss', { label: 'GNSS position', color: '--gnss' }), nisLine('gnss-velocity', { label: 'velocity', color: '--third' })] },
  ];
}

/** Taller strips on taller screens; 800 px high is the smallest that shows the whole overview. */
const roominess = () => Math.max(1, Math.min(1.8, (innerHeight - 450) / 350));

/** The value of a line at or before `t`. @param {Line} l @param {number | null} t */
function valueAt(l, t) {
  if (t === null) return l.y.at(-1);
  let i = l.x.length - 1;
  while (i > 0 && l.x[i] > t) i -= 1;
  return l.y[i];
}

/**
 * What stands beside the name of a line: its value at the cursor; for an error without a cursor its RMS, which is what counts.
 * @param {any} strip @param {number} i @param {number | null} at @param {number | null} end of the reference
 */
function reading(strip, i, at, end) {
  if (!strip.judged) return ['', valueAt(strip.lines[i], at)];
  if (at === null) return ['RMS ', flight.at('nav.score', null)?.[strip.rms[i]]];
  return ['', end !== null && at > end ? null : valueAt(strip.lines[i], at)];
}

/** @param {{strip: any, at: number | null, end: number | null, why: string}} props */
const Head = ({ strip, at, end, why }) => html`<div class="strip-head"><h3>${strip.name}</h3>
  ${strip.lines.map((/** @type {Line} */ l, /** @type {number} */ i) => {
    const [word, value] = reading(strip, i, at, end);
    return html`<span class="strip-value"><span class=${`swatch ${l.color.slice(2)} ${l.dash ? 'dashed' : ''} ${l.points ? 'round' : ''}`}></span>${l.label} ${word}<b>${fixed(value, strip.digits ?? 2)}</b>${strip.unit && html`<span class="unit">${strip.unit === '°' ? '' : ' '}${strip.unit}</span>`}</span>`;
  })}
  ${strip.judged && strip.unit === 'm' && end !== null && html`<span class="strip-note">hatched: ${why}</span>`}
  ${strip.band && html`<span class="strip-note">95 % band ${fixed(strip.band[0], 1)} to ${fixed(strip.band[1], 1)}</span>`}
</div>`;

/** @param {{cursor: number | null, version: string}} props cursor in the lists' own seconds */
export function FlightStrips({ cursor, version }) {
  const drawn = useMemo(strips, [version, flight.nis.size]);
  const length = Math.max(flight.end - flight.start, 5);
  const airborne = flight.airborne().map(([a, b]) => ({ from: a - flight.start, to: b - flight.start, kind: /** @type {'airborne'} */ ('airborne') }));
  const invalid = flight.invalid();
  const end = invalid && invalid.t - flight.start;
  const hatched = end === null ? [] : [{ from: end, to: Infinity, kind: /** @type {'invalid'} */ ('invalid') }];
  const at = cursor === null ? null : cursor - flight.start;
  return html`<${Panel} title="Flight" class="strips" topics=${TOPICS} csf="csf sub nav.state nav.score --json" curl=${curl('/topics/nav.state/history?from=0&limit=5000')} flush
    mark=${at !== null && html`<span class="tag">at ${fixed(at, 2)} s</span>`}>
    <${Timeline} range=${[0, length]} cursor=${at} />
    ${drawn.map((/** @type {any} */ s) => html`<div class="strip" key=${s.name}>
      <${Head} strip=${s} at=${at} end=${end} why=${invalid?.why ?? ''} />
      <${Chart} label=${s.name} unit=${s.unit} lines=${s.lines} range=${[0, length]} height=${Math.round(s.height * roominess())} band=${s.band} zero=${s.zero} least=${s.least} log=${s.log} axis=${s.axis}
        spans=${s.judged ? [...airborne, ...hatched] : airborne} cursor=${at}
        onHover=${(/** @type {number | null} */ t) => flight.setHover(t)} onPick=${(/** @type {number} */ t) => router.set({ t: t.toFixed(2) })} />
    </div>`)}
  </${Panel}>`;
}
