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
  const list = flight.lists[topic];
  const values = list.map((s) => s[field]);
  const keep = minMaxIndices(values, BUCKETS);
  return /** @type {Line} */ ({ x: keep.map((i) => list[i].t - flight.start), y: keep.map((i) => values[i]), ...look });
}

/** The sensor whose NIS is drawn: the position fix where there is one. */
function nisSource() {
  const names = [...flight.nis.keys()];
  return names.find((n) => /gnss|gps|fix/.test(n)) ?? names[0];
}

const FUSED = { label: 'fused', color: '--fused' };

function strips() {
  const source = nisSource();
  const peer = { label: flight.reference, color: '--peer', dash: [5, 3] };
  const nis = flight.nis.get(source ?? '') ?? [];
  return [
    { name: 'Height', unit: 'm', height: 92, topic: 'nav.state', lines: [line('nav.peer', 'height', peer), line('nav.state', 'height', FUSED)], least: 1 },
    { name: 'Ground speed', unit: 'm/s', height: 62, topic: 'nav.state', lines: [line('nav.peer', 'horizontalSpeed', peer), line('nav.state', 'horizontalSpeed', FUSED)], zero: true, least: 0.5 },
    { name: `Error against ${flight.reference}`, unit: 'm', height: 70, topic: 'nav.score', zero: true, least: 0.1,
      lines: [line('nav.score', 'position', { label: 'horizontal', color: '--fused' }), line('nav.score', 'height', { label: 'height', color: '--third', dash: [2, 2] })] },
    { name: 'Tilt error', unit: '°', height: 52, topic: 'nav.score', lines: [line('nav.score', 'tilt', { label: 'tilt', color: '--fused' })], zero: true, least: 0.5 },
    { name: `NIS, ${source ? source.toUpperCase() : 'fixes'}`, unit: '', height: 76, topic: 'nav.state', log: true, band: chi2Band95(nis[0]?.degrees ?? 3), axis: true,
      lines: [{ label: 'NIS', color: '--gnss', points: true, x: nis.map((s) => s.t - flight.start), y: nis.map((s) => Math.max(s.nis, 0.001)) }] },
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

/** @param {{cursor: number | null, version: string}} props cursor in the lists' own seconds */
export function FlightStrips({ cursor, version }) {
  const drawn = useMemo(strips, [version, flight.nis.size, flight.reference]);
  const length = Math.max(flight.end - flight.start, 5);
  const airborne = flight.airborne().map(([a, b]) => ({ from: a - flight.start, to: b - flight.start, kind: /** @type {'airborne'} */ ('airborne') }));
  const invalid = flight.invalidFrom();
  const hatched = invalid === null ? [] : [{ from: invalid - flight.start, to: Infinity, kind: /** @type {'invalid'} */ ('invalid') }];
  const at = cursor === null ? null : cursor - flight.start;
  return html`<${Panel} title="Flight" class="strips" topics=${TOPICS} csf="csf sub nav.state nav.score --json" curl=${curl('/topics/nav.state/history?from=0&limit=5000')} flush
    mark=${at !== null && html`<span class="tag">at ${fixed(at, 2)} s</span>`}>
    <${Timeline} range=${[0, length]} cursor=${at} />
    ${drawn.map((/** @type {any} */ s) => html`<div class="strip" key=${s.name}>
      <div class="strip-head"><h3>${s.name}</h3>${s.lines.map((/** @type {Line} */ l) => html`<span class="strip-value"><span class=${`swatch ${l.color.slice(2)} ${l.dash ? 'dashed' : ''} ${l.points ? 'round' : ''}`}></span>${l.label} <b>${fixed(valueAt(l, at))}</b>${s.unit && html`<span class="unit">${s.unit === '°' ? '' : ' '}${s.unit}</span>`}</span>`)}
        ${s.topic === 'nav.score' && invalid !== null && html`<span class="strip-note">hatched: ${flight.reference} is no reference</span>`}
        ${s.band && html`<span class="strip-note">95 % band ${fixed(s.band[0], 1)} to ${fixed(s.band[1], 1)}</span>`}
      </div>
      <${Chart} label=${s.name} unit=${s.unit} lines=${s.lines} range=${[0, length]} height=${Math.round(s.height * roominess())} band=${s.band} zero=${s.zero} least=${s.least} log=${s.log} axis=${s.axis}
        spans=${s.topic === 'nav.score' ? [...airborne, ...hatched] : airborne} cursor=${at}
        onHover=${(/** @type {number | null} */ t) => flight.setHover(t)} onPick=${(/** @type {number} */ t) => router.set({ t: t.toFixed(2) })} />
    </div>`)}
  </${Panel}>`;
}
