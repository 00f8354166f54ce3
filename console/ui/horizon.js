// @ts-check
/** The artificial horizon: sky, ground, pitch ladder every 10 degrees, roll scale, aircraft symbol. */
import { html } from './html.js';
import { fixed } from '../lib/format.js';

/** Drawing units per degree of pitch; the disc has a radius of 100. */
const PER_DEGREE = 3.2;
const LADDER = [-60, -50, -40, -30, -20, -10, 10, 20, 30, 40, 50, 60];
const HALF_STEPS = [-15, -5, 5, 15];
const ROLL_MARKS = [-60, -45, -30, -20, -10, 0, 10, 20, 30, 45, 60];

/** @param {{roll: number | null, pitch: number | null}} props degrees */
export function Horizon({ roll, pitch }) {
  const r = roll ?? 0;
  const p = (pitch ?? 0) * PER_DEGREE;
  const label = roll === null ? 'Attitude: no data' : `Attitude: roll ${fixed(roll, 1)} degrees, pitch ${fixed(pitch, 1)} degrees`;
  return html`<svg class="horizon" viewBox="-104 -104 208 208" role="img" aria-label=${label}>
    <defs><clipPath id="horizon-disc"><circle r="84" /></clipPath></defs>
    <g clip-path="url(#horizon-disc)">
      <g transform=${`rotate(${-r}) translate(0 ${p})`}>
        <rect class="sky" x="-200" y="-500" width="400" height="500" />
        <rect class="ground" x="-200" y="0" width="400" height="500" />
        <line class="edge" x1="-200" x2="200" y1="0" y2="0" />
        ${HALF_STEPS.map((d) => html`<line class="rung" x1="-9" x2="9" y1=${-d * PER_DEGREE} y2=${-d * PER_DEGREE} />`)}
        ${LADDER.map((d) => html`<g transform=${`translate(0 ${-d * PER_DEGREE})`}>
          <line class="rung" x1="-20" x2="20" y1="0" y2="0" />
          <text class="rung-text" x="-30" y="3.5">${Math.abs(d)}</text><text class="rung-text" x="30" y="3.5">${Math.abs(d)}</text>
        </g>`)}
      </g>
    </g>
    <circle class="rim" r="84" />
    ${ROLL_MARKS.map((d) => html`<line class="roll-mark" transform=${`rotate(${d})`} x1="0" x2="0" y1="-87" y2=${d % 30 === 0 ? -99 : -94} />`)}
    <path class="roll-pointer" transform=${`rotate(${-r})`} d="M0 -84l-6 10h12z" />
    <path class="craft" d="M-48 0h28l8 9M48 0h-28l-8 9" /><circle class="craft-dot" r="2.6" />
  </svg>`;
}

/** A compass strip: which way the nose points. @param {{yaw: number | null}} props degrees */
export function Compass({ yaw }) {
  const y = yaw ?? 0;
  const marks = [];
  for (let d = Math.ceil((y - 55) / 10) * 10; d <= y + 55; d += 10) {
    const n = ((d % 360) + 360) % 360;
    const room = Math.abs(d - y) < 46; // a name nearer to the end would be cut
    const name = !room ? '' : { 0: 'N', 90: 'E', 180: 'S', 270: 'W' }[n] ?? (n % 30 === 0 ? String(n) : '');
    marks.push({ x: (d - y) * 2, name, major: n % 30 === 0 });
  }
  return html`<svg class="compass" viewBox="-104 -3 208 27" role="img" aria-label=${`Heading ${yaw === null ? 'unknown' : `${fixed(yaw, 0)} degrees`}`}>
    ${marks.map((m) => html`<g transform=${`translate(${m.x} 0)`}><line class="roll-mark" y1="0" y2=${m.major ? 7 : 4} /><text class="compass-text" y="21">${m.name}</text></g>`)}
    <path class="roll-pointer" d="M0 1l-4 -6h8z" transform="translate(0 4)" />
  </svg>`;
}
