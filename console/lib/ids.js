// @ts-check
/**
 * Stamps and ids: the two values that do not fit in a JSON number without loss.
 *
 * A stamp is a decimal string of nanoseconds since the Unix epoch; it is compared and subtracted as BigInt and becomes a Number
 * only as a difference or as seconds for drawing. An id is `node.incarnation.lane-sequence`.
 */

/** @typedef {{node: number, incarnation: number, lane: number, sequence: bigint}} PacketId */

const ID = /^(\d+)\.(\d+)\.(\d+)-(\d+)$/;

/** @param {string} text @returns {PacketId | null} */
export function parseId(text) {
  const m = ID.exec(text.trim());
  return m ? { node: Number(m[1]), incarnation: Number(m[2]), lane: Number(m[3]), sequence: BigInt(m[4]) } : null;
}

/** @param {string} text */
export const isId = (text) => ID.test(text.trim());

/**
 * A stamp as BigInt, or null when it is no stamp. A JSON number is taken only while it is exact.
 * @param {unknown} value
 * @returns {bigint | null}
 */
export function parseStamp(value) {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'string' && /^-?\d+$/.test(value)) return BigInt(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  return null;
}

/** Later minus earlier in nanoseconds; exact up to 104 days. @param {unknown} later @param {unknown} earlier */
export function elapsedNs(later, earlier) {
  const a = parseStamp(later);
  const b = parseStamp(earlier);
  return a === null || b === null ? null : Number(a - b);
}

/** Seconds since `base` (both nanoseconds), exact to the nanosecond for the first 104 days. @param {bigint} ns @param {bigint} base */
export const secondsSince = (ns, base) => Number(ns - base) / 1e9;

/** Seconds since the Unix epoch, exact to a microsecond: good for drawing, never for comparing. @param {unknown} stamp */
export function stampSeconds(stamp) {
  const ns = parseStamp(stamp);
  return ns === null ? NaN : Number(ns / 1000n) / 1e6;
}
