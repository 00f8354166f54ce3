// @ts-check
/**
 * A strip chart on uPlot: x is a time in seconds shared by all strips, each series has times of its own.
 *
 * uPlot wants one x for all series, so they are joined; gaps from joining are spanned. Colours come from the CSS variables and are
 * read again when the theme changes.
 */
import uPlot from '../vendor/uplot.js';
import { html, useEffect, useRef } from './html.js';
import { theme } from '../lib/theme.js';
import { useStores } from '../lib/store.js';
import { fixed } from '../lib/format.js';

/** uPlot comes without types; its own documentation is the reference. @typedef {any} Plot */

/** @typedef {{label: string, color: string, x: number[], y: (number | null)[], dash?: number[], points?: boolean, width?: number}} Line */
/** @typedef {{from: number, to: number, kind: 'airborne' | 'invalid'}} Span */
/**
 * @typedef {{label: string, unit: string, lines: Line[], range: [number, number], height: number, band?: [number, number] | null,
 *   spans?: Span[], cursor?: number | null, onHover?: (t: number | null) => void, onPick?: (t: number) => void,
 *   axis?: boolean, zero?: boolean, least?: number, log?: boolean, digits?: number}} ChartProps
 */

const Uplot = /** @type {any} */ (uPlot);

export const AXIS_LEFT = 46;
export const PAD_RIGHT = 10;

/** @param {ChartProps} props */
export function Chart(props) {
  useStores(theme);
  const host = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {Plot | null} */ (null));
  const latest = useRef(props);
  latest.current = props;
  const shape = `${props.lines.map((l) => l.label + l.color + l.points).join()}|${props.axis}|${props.height}|${theme.name}`;

  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (host.current);
    const made = new Uplot(options(element, latest), joined(latest.current), element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: latest.current.height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(joined(props));
  });

  return html`<div class="chart" ref=${host} role="img" aria-label=${spoken(props)}></div>`;
}

/** What the picture says, for those who do not see it. @param {ChartProps} props */
function spoken(props) {
  const parts = props.lines.map((line) => {
    const last = line.y.findLast((v) => v !== null && v !== undefined);
    return `${line.label} ${last === undefined ? 'no data' : `${fixed(last, props.digits ?? 2)} ${props.unit}`}`;
  });
  return `${props.label} over time: ${parts.join(', ')}`;
}

/** @param {ChartProps} props */
function joined(props) {
  const tables = props.lines.map((l) => [l.x, l.y]);
  if (tables.every((t) => t[0].length === 0)) return /** @type {any} */ ([[], ...tables.map(() => [])]);
  return tables.length === 1 ? /** @type {any} */ (tables[0]) : uPlot.join(/** @type {any} */ (tables));
}

/** @param {HTMLElement} element @param {{current: ChartProps}} latest */
function options(element, latest) {
  const props = latest.current;
  const ink = theme.color('--ink-3');
  const grid = { stroke: theme.color('--grid'), width: 1 };
  const font = `11px ${theme.value('--sans')}`;
  return /** @type {any} */ ({
    width: element.clientWidth,
    height: props.height,
    padding: [6, PAD_RIGHT, props.axis ? 0 : 4, 0],
    legend: { show: false },
    cursor: { show: true, x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: () => latest.current.range },
      y: { distr: props.log ? 3 : 1, range: (/** @type {any} */ _u, /** @type {number} */ low, /** @type {number} */ high) => yRange(latest.current, low, high) },
    },
    axes: [
      { show: true, stroke: ink, font, grid, ticks: { show: false }, size: props.axis ? 20 : 0, gap: 4, space: 60,
        values: (/** @type {any} */ _u, /** @type {number[]} */ ticks) => ticks.map((v) => (props.axis ? `${fixed(v, ticks[1] - ticks[0] < 1 ? 1 : 0)} s` : '')) },
      { stroke: ink, font, grid, ticks: { show: false }, size: AXIS_LEFT, gap: 6, space: props.height < 80 ? 15 : 22,
        ...(props.log ? { splits: (/** @type {any} */ _u, /** @type {number} */ _i, /** @type {number} */ low, /** @type {number} */ high) => LOG_TICKS.filter((v) => v >= low && v <= high), filter: (/** @type {any} */ _u, /** @type {number[]} */ ticks) => ticks } : {}),
        values: (/** @type {any} */ _u, /** @type {(number | null)[]} */ ticks) => ticks.map((v) => (v === null ? '' : axisNumber(v))) },
    ],
    series: [{}, ...props.lines.map((line) => ({
      label: line.label,
      stroke: theme.color(line.color),
      width: line.points ? 0 : line.width ?? 1.5,
      dash: line.dash,
      spanGaps: true,
      points: line.points ? { show: true, size: 5, fill: theme.color(line.color), stroke: theme.color(line.color), width: 0 } : { show: false },
    }))],
    hooks: {
      drawClear: [(/** @type {Plot} */ u) => drawBehind(u, latest.current)],
      draw: [(/** @type {Plot} */ u) => drawCursor(u, latest.current)],
      setCursor: [(/** @type {Plot} */ u) => {
        const left = u.cursor.left ?? -1;
        latest.current.onHover?.(left < 0 ? null : u.posToVal(left, 'x'));
      }],
      ready: [(/** @type {Plot} */ u) => u.over.addEventListener('click', () => {
        const left = u.cursor.left ?? -1;
        if (left >= 0) latest.current.onPick?.(u.posToVal(left, 'x'));
      })],
    },
  });
}

/** What a logarithmic axis shows at least, and the ticks it may carry. */
const LOG_FLOOR = 1e-4;
const LOG_TICKS = [0.001, 0.1, 10, 1000];

/** @param {number} v */
const axisNumber = (v) => fixed(v, Number.isInteger(v) ? 0 : Math.abs(v) < 0.01 ? 3 : Math.abs(v) < 0.1 ? 2 : Number.isInteger(v * 10) ? 1 : 2);

/** @param {ChartProps} props @param {number | null} low @param {number | null} high @returns {[number, number]} */
function yRange(props, low, high) {
  let a = low ?? 0;
  let b = high ?? 1;
  if (props.log) {
    const floor = Math.max(Math.min(low ?? 1, props.band?.[0] ?? 1), LOG_FLOOR);
    return [floor * 0.7, Math.max(high ?? 1, props.band?.[1] ?? 1, floor * 10) * 1.4];
  }
  if (props.band) [a, b] = [Math.min(a, props.band[0]), Math.max(b, props.band[1] * 1.1)];
  if (props.zero) a = Math.min(0, a);
  const least = props.least ?? 0.1;
  if (b - a < least) {
    const middle = (a + b) / 2;
    [a, b] = props.zero && a === 0 ? [0, least] : [middle - least / 2, middle + least / 2];
  }
  const room = (b - a) * 0.08;
  return [props.zero && a === 0 ? 0 : a - room, b + room];
}

/** The air, the end of the reference, and the band, behind the lines. @param {Plot} u @param {ChartProps} props */
function drawBehind(u, props) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  for (const span of props.spans ?? []) {
    const x0 = u.valToPos(Math.max(span.from, props.range[0]), 'x', true);
    const x1 = u.valToPos(Math.min(span.to, props.range[1]), 'x', true);
    if (span.kind === 'airborne') {
      ctx.fillStyle = theme.color('--air');
      ctx.fillRect(x0, top, x1 - x0, height);
    } else hatch(ctx, x0, top, x1 - x0, height);
  }
  if (props.band) {
    const y0 = u.valToPos(props.band[1], 'y', true);
    const y1 = u.valToPos(props.band[0], 'y', true);
    ctx.fillStyle = theme.color('--band');
    ctx.fillRect(left, y0, width, y1 - y0);
  }
  ctx.restore();
}

/** Diagonal lines: nothing to compare with here. @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} w @param {number} h */
function hatch(ctx, x, y, w, h) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, y, w, h);
  ctx.clip();
  ctx.strokeStyle = theme.color('--hatch');
  ctx.lineWidth = devicePixelRatio;
  const step = 7 * devicePixelRatio;
  ctx.beginPath();
  for (let i = -h; i < w; i += step) {
    ctx.moveTo(x + i, y + h);
    ctx.lineTo(x + i + h, y);
  }
  ctx.stroke();
  ctx.restore();
}

/** @param {Plot} u @param {ChartProps} props */
function drawCursor(u, props) {
  const t = props.cursor;
  if (t === null || t === undefined || t < props.range[0] || t > props.range[1]) return;
  const x = Math.round(u.valToPos(t, 'x', true)) + 0.5;
  const { ctx } = u;
  ctx.save();
  ctx.strokeStyle = theme.color('--ink-2');
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x, u.bbox.top);
  ctx.lineTo(x, u.bbox.top + u.bbox.height);
  ctx.stroke();
  ctx.restore();
}
