// @ts-check
/** A sparkline: the last two minutes of one figure, in SVG. */
import { html } from './html.js';
import { stride } from '../lib/thin.js';

const W = 200;
const H = 36;

/**
 * @param {{points: {t: number, v: number}[], now: number, window: number, max?: number | null, signed?: boolean, marks?: number[], label: string}} props
 *   `max` fixes the scale from 0, otherwise the data decides, from 0 unless `signed`; `marks` are times of anomalies
 */
export function Spark({ points, now, window, max, signed, marks = [], label }) {
  const shown = stride(points, 150);
  let low = signed ? Infinity : 0;
  let high = signed ? -Infinity : max ?? 0;
  if (!max) {
    for (const p of shown) {
      if (p.v > high) high = p.v;
      if (p.v < low) low = p.v;
    }
  }
  if (!shown.length) [low, high] = [0, 1];
  const span = high - low || 1;
  const x = (/** @type {number} */ t) => W - ((now - t) / window) * W;
  const y = (/** @type {number} */ v) => H - 2 - ((v - low) / span) * (H - 5);
  const path = shown.map((p, i) => `${i ? 'L' : 'M'}${x(p.t).toFixed(1)} ${y(Math.min(high, p.v)).toFixed(1)}`).join('');
  const zero = signed ? H - 1 : y(Math.max(low, 0));
  const area = shown.length && !signed ? `${path}L${x(shown[shown.length - 1].t).toFixed(1)} ${zero}L${x(shown[0].t).toFixed(1)} ${zero}Z` : '';
  return html`<svg class="spark" viewBox=${`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img" aria-label=${label}>
    <line class="spark-zero" x1="0" x2=${W} y1=${zero} y2=${zero} />
    ${marks.filter((t) => t > now - window).map((t) => html`<line class="spark-mark" x1=${x(t)} x2=${x(t)} y1="0" y2="8" />`)}
    <path class="spark-area" d=${area} /><path class="spark-line" d=${path} />
  </svg>`;
}
