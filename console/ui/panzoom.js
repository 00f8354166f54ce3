// @ts-check
/** An SVG that pans by dragging, zooms by wheel, pinch, buttons or keys, and always fits at first. */
import { html, useEffect, useRef, useState } from './html.js';
import { Icon } from './basics.js';

const MARGIN = 16;
const ZOOM_MAX = 6;
/** Units that a narrow screen shows at once. */
const NARROW_W = 440;

/** @param {{width: number, height: number, label: string, children?: any}} props in the drawing's own units */
export function PanZoom({ width, height, label, children }) {
  const svg = useRef(/** @type {SVGSVGElement | null} */ (null));
  const home = { x: -MARGIN, y: -MARGIN, w: width + 2 * MARGIN, h: height + 2 * MARGIN };
  // On a narrow screen the whole drawing would be too small to read, so it opens at its left end.
  const narrow = innerWidth < 700 && home.w > NARROW_W;
  const [box, setBox] = useState(narrow ? { ...home, w: NARROW_W } : home);
  const live = useRef(box);
  live.current = box;

  /** @param {number} factor @param {number} fx @param {number} fy the fixed point, as shares of the box */
  const zoom = (factor, fx = 0.5, fy = 0.5) => {
    const b = live.current;
    const w = Math.max(home.w / ZOOM_MAX, Math.min(home.w * 1.5, b.w * factor));
    const k = w / b.w;
    setBox({ x: b.x + b.w * (1 - k) * fx, y: b.y + b.h * (1 - k) * fy, w, h: b.h * k });
  };

  useEffect(() => {
    const element = /** @type {SVGSVGElement} */ (svg.current);
    const wheel = (/** @type {WheelEvent} */ event) => {
      if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaY) < 1) return;
      event.preventDefault();
      const r = element.getBoundingClientRect();
      zoom(Math.exp(event.deltaY * 0.0015), (event.clientX - r.left) / r.width, (event.clientY - r.top) / r.height);
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => element.removeEventListener('wheel', wheel);
  }, []);

  const drag = (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0) return;
    const element = /** @type {SVGSVGElement} */ (svg.current);
    const start = { x: event.clientX, y: event.clientY, box: live.current };
    const scale = Math.max(start.box.w / element.clientWidth, start.box.h / element.clientHeight);
    const move = (/** @type {PointerEvent} */ e) => setBox({ ...start.box, x: start.box.x - (e.clientX - start.x) * scale, y: start.box.y - (e.clientY - start.y) * scale });
    const up = () => {
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', up);
    };
    addEventListener('pointermove', move);
    addEventListener('pointerup', up);
  };

  const keys = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === '+' || event.key === '=') zoom(0.8);
    else if (event.key === '-') zoom(1.25);
    else if (event.key === '0') setBox(home);
    else return;
    event.preventDefault();
  };

  return html`<div class="panzoom" onKeyDown=${keys}>
    <svg ref=${svg} class="graph" style=${{ aspectRatio: `${home.w} / ${home.h}` }} viewBox=${`${box.x} ${box.y} ${box.w} ${box.h}`} role="group" aria-label=${label} onPointerDown=${drag}>${children}</svg>
    <div class="zoom-tools">
      <button type="button" class="tool" aria-label="Zoom in" title="Zoom in (+)" onClick=${() => zoom(0.8)}><${Icon} name="plus" /></button>
      <button type="button" class="tool" aria-label="Zoom out" title="Zoom out (-)" onClick=${() => zoom(1.25)}><${Icon} name="minus" /></button>
      <button type="button" class="tool" aria-label="Fit" title="Fit (0)" onClick=${() => setBox(home)}><${Icon} name="fit" /></button>
    </div>
  </div>`;
}
