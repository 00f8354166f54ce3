// @ts-check
/** Thinning for drawing: fewer points, same picture. */

/**
 * Keeps, for each of `buckets` equal index ranges, the smallest and the largest value in their order, so that peaks survive.
 * First and last point always stay. Returns indices, ascending.
 * @param {ArrayLike<number>} values @param {number} buckets
 */
export function minMaxIndices(values, buckets) {
  const n = values.length;
  if (n <= buckets * 2 + 2) return Array.from({ length: n }, (_, i) => i);
  const out = [0];
  for (let b = 0; b < buckets; b += 1) {
    const from = 1 + Math.floor((b * (n - 2)) / buckets);
    const to = 1 + Math.floor(((b + 1) * (n - 2)) / buckets);
    let low = from;
    let high = from;
    for (let i = from + 1; i < to; i += 1) {
      if (values[i] < values[low]) low = i;
      if (values[i] > values[high]) high = i;
    }
    if (low === high) out.push(low);
    else out.push(Math.min(low, high), Math.max(low, high));
  }
  out.push(n - 1);
  return out;
}

/** Every k-th element so that at most `limit` remain, always with the last one. @template T @param {T[]} list @param {number} limit */
export function stride(list, limit) {
  if (list.length <= limit) return list;
  const step = Math.ceil((list.length - 1) / (limit - 1));
  const out = list.filter((_, i) => i % step === 0);
  if (out.at(-1) !== list.at(-1)) out.push(/** @type {T} */ (list.at(-1)));
  return out;
}

/**
 * A path without the points that lie closer than `tolerance` to the line around them (Douglas and Peucker, 1973), iterative.
 * @param {[number, number][]} points @param {number} tolerance @returns {[number, number][]}
 */
export function simplify(points, tolerance) {
  if (points.length < 3) return points;
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const stack = [[0, points.length - 1]];
  while (stack.length) {
    const [from, to] = /** @type {[number, number]} */ (stack.pop());
    let far = 0;
    let at = -1;
    for (let i = from + 1; i < to; i += 1) {
      const d = distance(points[i], points[from], points[to]);
      if (d > far) [far, at] = [d, i];
    }
    if (at > 0 && far > tolerance) {
      keep[at] = 1;
      stack.push([from, at], [at, to]);
    }
  }
  return points.filter((_, i) => keep[i]);
}

/** Distance of `p` to the segment `a`-`b`. @param {[number, number]} p @param {[number, number]} a @param {[number, number]} b */
function distance(p, a, b) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length2 = dx * dx + dy * dy;
  const k = length2 === 0 ? 0 : Math.max(0, Math.min(1, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length2));
  return Math.hypot(p[0] - a[0] - k * dx, p[1] - a[1] - k * dy);
}

/**
 * Index of the last element whose key is at most `key`, or -1. The list ascends by key.
 * @template T @param {T[]} list @param {number} key @param {(item: T) => number} of
 */
export function indexAt(list, key, of) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (of(list[mid]) <= key) low = mid + 1;
    else high = mid;
  }
  return low - 1;
}
