// @ts-check
/** Draws the component graph that the node laid out: boxes, arrows, and one label per pair of boxes with the live rates. */
import { html, cls, useMemo } from './html.js';
import { stateKind } from './basics.js';
import { hertz, text } from '../lib/format.js';

/** More topics than this between two boxes are summed up in one line. */
const LINES_MAX = 4;
const LINE = 14;
const LETTER = 5.3;
const CLEARANCE = 5;
/** Slower than this counts as silent. */
const ACTIVE_HZ = 0.05;

/** @typedef {{key: string, from: string, to: string, edges: any[], points: number[][]}} Group */

/** The node draws tight rows; here they stand further apart, so that labels and passing arrows have room between them. */
const STRETCH = 1.9;

/** @param {any} graph as the node laid it out */
export function roomy(graph) {
  const top = Math.min(...graph.nodes.map((/** @type {any} */ n) => n.y));
  const lower = (/** @type {string} */ id) => {
    const node = graph.nodes.find((/** @type {any} */ n) => n.id === id);
    return node ? (node.y - top) * (STRETCH - 1) : 0;
  };
  const nodes = graph.nodes.map((/** @type {any} */ n) => ({ ...n, y: n.y + lower(n.id) }));
  const edges = graph.edges.map((/** @type {any} */ e) => ({
    ...e,
    points: e.points.map((/** @type {number[]} */ [x, y], /** @type {number} */ i) => [x, y + lower(i < e.points.length / 2 ? e.from : e.to)]),
  }));
  const grown = Math.max(0, ...graph.nodes.map((/** @type {any} */ n) => lower(n.id)));
  return { ...graph, nodes, edges, height: graph.height + grown };
}

/** The middle of several polylines with equally many points. @param {number[][][]} lines */
const middle = (lines) => lines[0].map((point, i) => [point[0], lines.reduce((s, l) => s + (l[i] ?? l[l.length - 1])[1], 0) / lines.length]);

/** Edges between the same two nodes share one arrow and one label. @param {any[]} edges @returns {Group[]} */
function grouped(edges) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const edge of edges) {
    const key = `${edge.from}→${edge.to}`;
    const group = groups.get(key) ?? { key, from: edge.from, to: edge.to, edges: /** @type {any[]} */ ([]), points: [] };
    group.edges.push(edge);
    groups.set(key, group);
  }
  for (const group of groups.values()) group.points = middle(group.edges.map((e) => e.points));
  return [...groups.values()];
}

/** The curve of an arrow between two neighbouring columns: level at both ends. @param {number[]} a @param {number[]} b */
function bend(a, b) {
  const pull = Math.max(16, Math.min(90, Math.abs(b[0] - a[0]) / 2));
  return `C${a[0] + pull} ${a[1]} ${b[0] - pull} ${b[1]} ${b[0]} ${b[1]}`;
}

/** Room between a box and an arrow that passes it, and between two such arrows. */
const PASSING = 12;
const APART = 5;

/**
 * The path of every arrow. One that would run behind boxes in between passes them above or below; a polyline from the node is kept.
 * @param {Group[]} edges @param {any[]} nodes @returns {string[]}
 */
function paths(edges, nodes) {
  /** @type {Map<number, number>} arrows already in each channel, by its height */
  const used = new Map();
  return edges.map((edge) => {
    const points = edge.points;
    const [a, b] = [points[0], points[points.length - 1]];
    if (points.length > 2) return points.map((/** @type {number[]} */ p, /** @type {number} */ i) => `${i ? 'L' : 'M'}${p[0]} ${p[1]}`).join('');
    const between = nodes.filter((n) => n.x > a[0] && n.x + n.w < b[0]);
    const at = (/** @type {number} */ x) => a[1] + ((x - a[0]) / (b[0] - a[0])) * (b[1] - a[1]);
    const hit = between.some((n) => [n.x, n.x + n.w / 2, n.x + n.w].some((x) => at(x) > n.y - PASSING && at(x) < n.y + n.h + PASSING));
    if (!hit) return `M${a[0]} ${a[1]}${bend(a, b)}`;
    const middle = (a[1] + b[1]) / 2;
    const free = between.flatMap((n) => [n.y - PASSING, n.y + n.h + PASSING])
      .filter((y) => between.every((n) => y <= n.y - PASSING || y >= n.y + n.h + PASSING))
      .sort((p, q) => Math.abs(p - middle) - Math.abs(q - middle))[0] ?? middle;
    const before = used.get(free) ?? 0;
    used.set(free, before + 1);
    const up = between.some((n) => Math.abs(free - (n.y - PASSING)) < 0.5);
    const y = free + (up ? -1 : 1) * before * APART;
    const left = Math.min(...between.map((n) => n.x));
    const right = Math.max(...between.map((n) => n.x + n.w));
    return `M${a[0]} ${a[1]}${bend(a, [left, y])}L${right} ${y}${bend([right, y], b)}`;
  });
}

/** What a label says, short where the gap between the boxes is narrow. @param {Group} group @param {(t: string) => number | null} rateOf @param {number} room */
function words(group, rateOf, room) {
  const total = group.edges.reduce((s, e) => s + (rateOf(e.topic) ?? 0), 0);
  const lines = group.edges.length > LINES_MAX
    ? [{ id: group.to, name: `${group.edges.length} topics`, rate: text(hertz(total)), active: total > ACTIVE_HZ }]
    : group.edges.map((e) => ({ id: e.topic, name: e.topic, rate: text(hertz(rateOf(e.topic))), active: (rateOf(e.topic) ?? 0) > ACTIVE_HZ }));
  const width = () => Math.max(...lines.map((l) => (l.name.length + l.rate.length + 2) * LETTER)) + 12;
  if (width() > room) for (const l of lines) l.name = /** @type {string} */ (l.name.split('.').pop());
  return { lines, width: width(), height: lines.length * LINE + 6 };
}

/**
 * Labels stand in the gap before their target, pushed down where two would overlap.
 * @param {Group[]} groups @param {any[]} nodes @param {(t: string) => number | null} rateOf
 */
function labels(groups, nodes, rateOf) {
  const node = (/** @type {string} */ id) => nodes.find((n) => n.id === id);
  const placed = groups.map((group) => {
    const [from, to] = [node(group.from), node(group.to)];
    const left = Math.max(from ? from.x + from.w : 0, ...nodes.map((n) => (to && n.x + n.w < to.x ? n.x + n.w : -Infinity)));
    const room = to ? to.x - left : Infinity;
    const said = words(group, rateOf, room - 2 * CLEARANCE);
    const [end, y] = group.points[group.points.length - 1];
    const x = to ? (left + to.x) / 2 : end - said.width;
    // One row of a group's arrows comes from above or below; half way up the last bend is where the eye meets it.
    const start = group.points[0];
    const wish = (from && to && left <= from.x + from.w + 1 ? (y + start[1]) / 2 : y) - said.height / 2;
    return { group, ...said, x: x - said.width / 2, y: wish, wish, column: Math.round(x) };
  });
  for (const column of new Set(placed.map((p) => p.column))) {
    let [floor, pushed, count] = [-Infinity, 0, 0];
    for (const p of placed.filter((q) => q.column === column).sort((a, b) => a.y - b.y)) {
      p.y = Math.max(p.y, floor);
      floor = p.y + p.height + CLEARANCE;
      pushed += p.y - p.wish;
      count += 1;
    }
    for (const p of placed) if (p.column === column) p.y -= pushed / count;
  }
  return placed;
}

/** @param {{data: any, components: any[], rateOf: (t: string) => number | null, selected: string, choose: (id: string) => void}} props */
export function Drawing({ data, components, rateOf, selected, choose }) {
  /** @type {Group[]} */
  const groups = useMemo(() => grouped(data.edges), [data]);
  /** @type {string[]} */
  const drawn = useMemo(() => paths(groups, data.nodes), [data]);
  const chosen = (/** @type {any} */ e) => e.from === selected || e.to === selected || e.topic === selected;
  /** @type {Set<string>} */
  const near = new Set(data.edges.flatMap((/** @type {any} */ e) => (chosen(e) ? [e.from, e.to] : [])));
  const press = (/** @type {string} */ id) => (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    event.stopPropagation();
    choose(id);
  };
  return html`<g>
    <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path class="arrow-head" d="M0 .8L7 4L0 7.2z" /></marker></defs>
    ${groups.map((g, i) => html`<path class=${cls('edge', g.edges.some((e) => e.feedback) && 'feedback', g.edges.some((e) => (rateOf(e.topic) ?? 0) > ACTIVE_HZ) && 'active', selected && (g.edges.some(chosen) ? 'near' : 'far'))} d=${drawn[i]} marker-end="url(#arrow)" />`)}
    ${labels(groups, data.nodes, rateOf).map((l) => html`<${Label} key=${l.group.key} label=${l} far=${selected && !l.group.edges.some(chosen)} choose=${choose} press=${press} />`)}
    ${data.nodes.map((/** @type {any} */ n) => html`<${Box} key=${n.id} node=${n} component=${components.find((k) => k.name === n.id)} on=${selected === n.id} far=${selected && selected !== n.id && !near.has(n.id)} choose=${choose} press=${press} />`)}
  </g>`;
}

/** @param {any} props */
const Box = ({ node: n, component, on, far, choose, press }) => html`<g class=${cls('node', `node-${n.kind}`, on && 'on', far && 'far')} transform=${`translate(${n.x} ${n.y})`} tabindex="0" role="button" data-row=""
    aria-pressed=${on} aria-description=${`${n.kind}, ${component?.state ?? 'state unknown'}`} onClick=${() => choose(n.id)} onKeyDown=${press(n.id)}>
    <rect class="node-box" width=${n.w} height=${n.h} rx=${n.kind === 'service' ? n.h / 2 : 6} />
    <circle class=${`node-state state-${stateKind(component?.state ?? '')}`} cx="16" cy=${n.h / 2} r="4" />
    <text class="node-label" x="29" y=${n.h / 2 - 3}>${n.label}</text><text class="node-detail" x="29" y=${n.h / 2 + 12}>${n.detail}</text>
  </g>`;

/** @param {any} props */
const Label = ({ label: l, far, choose, press }) => html`<g class=${cls('edge-label', far && 'far')} transform=${`translate(${l.x} ${l.y})`}>
    <rect width=${l.width} height=${l.height} rx="4" />
    ${l.lines.map((/** @type {any} */ line, /** @type {number} */ i) => html`<g role="button" tabindex="0" aria-description="topic" onClick=${() => choose(line.id)} onKeyDown=${press(line.id)}>
      <text x="6" y=${LINE * i + LINE}>${line.name}</text><text class=${cls('edge-rate', line.active && 'active')} x=${l.width - 6} y=${LINE * i + LINE} text-anchor="end">${line.rate}</text>
    </g>`)}
  </g>`;
