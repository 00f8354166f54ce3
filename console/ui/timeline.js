// @ts-check
/** Phases as a band, events as flags, on the time axis of the strips below. */
import { html, useLayoutEffect, useRef, useState } from './html.js';
import { Icon } from './basics.js';
import { AXIS_LEFT, PAD_RIGHT } from './chart.js';
import { flight } from '../lib/flight.js';
import { makeHash } from '../lib/router.js';
import { fixed } from '../lib/format.js';

/** Rough width of a label, for placing: 6.2 px a letter at 11 px, and the flag. @param {string} label */
const labelWidth = (label) => label.length * 6.2 + 26;
const LANES = 3;
/** A band narrower than this has no room for its words. */
const WORDS_FROM = 84;

/** @typedef {{t: number, label: string, kind: 'plain' | 'bad' | 'warn' | 'good', id: string | null}} Mark */

/** @returns {Mark[]} in flight seconds */
function marks() {
  /** @type {Mark[]} */
  const out = [];
  let before = false;
  for (const p of flight.lists['nav.phase']) {
    if (p.airborne !== before) out.push({ t: p.t, label: p.airborne ? 'take-off' : 'landing', kind: 'plain', id: p.id });
    before = p.airborne;
  }
  for (const g of flight.lists['nav.geofence']) out.push({ t: g.t, label: g.breach ? 'geofence breach' : 'back inside', kind: g.breach ? 'bad' : 'good', id: g.id });
  const invalid = flight.invalid();
  if (invalid) out.push({ t: invalid.t, label: invalid.why, kind: 'warn', id: invalid.id });
  return out.map((m) => ({ ...m, t: m.t - flight.start })).sort((a, b) => a.t - b.t);
}

/** Puts each label into the first lane with room; those without room keep only their flag. @param {Mark[]} list @param {(t: number) => number} x @param {number} width */
function placed(list, x, width) {
  const free = Array(LANES).fill(-Infinity);
  return list.map((m) => {
    const left = x(m.t);
    const flip = left + labelWidth(m.label) > width;
    const start = flip ? left - labelWidth(m.label) : left;
    const lane = free.findIndex((f) => f <= start);
    if (lane >= 0) free[lane] = start + labelWidth(m.label);
    return { ...m, left, lane: lane < 0 ? LANES - 1 : lane, flip, bare: lane < 0 };
  });
}

/** @param {{range: [number, number], cursor: number | null}} props */
export function Timeline({ range, cursor }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [width, setWidth] = useState(600);
  useLayoutEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const inner = Math.max(50, width - AXIS_LEFT - PAD_RIGHT);
  const x = (/** @type {number} */ t) => ((Math.min(t, range[1]) - range[0]) / (range[1] - range[0])) * inner;
  const spans = flight.airborne().map(([a, b]) => [a - flight.start, b - flight.start]);
  const list = placed(marks(), x, inner);
  return html`<div class="timeline" ref=${box} role="group" aria-label="Phases and events">
    <div class="timeline-inner" style=${{ left: `${AXIS_LEFT}px`, width: `${inner}px` }}>
      <div class="phase-band">${spans.map(([a, b]) => html`<div class="phase-air" title=${`airborne ${fixed(Math.min(b, range[1]) - a, 1)} s`} style=${{ left: `${x(a)}px`, width: `${Math.max(2, x(b) - x(a))}px` }}>${x(b) - x(a) > WORDS_FROM && html`<span>airborne ${fixed(Math.min(b, range[1]) - a, 1)} s</span>`}</div>`)}</div>
      ${list.map((m) => html`<a class=${`mark mark-${m.kind} lane-${m.lane} ${m.flip ? 'flip' : ''}`} href=${m.id ? makeHash('why', m.id) : '#/why'} style=${{ left: `${m.left}px` }}
        title=${`${m.label} at ${fixed(m.t, 2)} s; click for its causes`} aria-label=${`${m.label} at ${fixed(m.t, 2)} seconds`}><${Icon} name=${m.kind === 'bad' || m.kind === 'warn' ? 'warn' : 'flag'} />${!m.bare && html`<span>${m.label}</span>`}</a>`)}
      ${cursor !== null && cursor >= range[0] && cursor <= range[1] && html`<div class="timeline-cursor" style=${{ left: `${x(cursor)}px` }}></div>`}
    </div>
  </div>`;
}
