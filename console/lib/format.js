// @ts-check
/**
 * Numbers as people read them. Every formatter returns `[value, unit]`, so that no number can be shown without its unit;
 * an absent value is an en dash, never a zero.
 */
import { parseStamp } from './ids.js';

/** @typedef {[string, string]} Quantity */

export const NONE = '–';
const MINUS = '\u2212';

/** @param {unknown} x @returns {x is number} */
const finite = (x) => typeof x === 'number' && Number.isFinite(x);

/** Fixed decimals with a real minus sign and no negative zero. @param {unknown} x */
export function fixed(x, digits = 2) {
  if (!finite(x)) return NONE;
  const text = x.toFixed(digits);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', MINUS);
}

/** @param {unknown} x @param {string} unit @returns {Quantity} */
export const quantity = (x, unit, digits = 2) => [fixed(x, digits), finite(x) ? unit : ''];

/** Whole numbers in groups of three, narrow spaces. @param {unknown} x */
export function count(x) {
  if (!finite(x)) return NONE;
  return Math.round(x).toString().replace('-', MINUS).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
}

/** Three significant digits. @param {number} x */
function significant(x) {
  const a = Math.abs(x);
  return fixed(x, a >= 100 || a === 0 ? 0 : a >= 10 ? 1 : 2);
}

/** @param {number} x @param {string[]} units @returns {Quantity} */
function scaled(x, units) {
  let i = 0;
  let value = x;
  while (Math.abs(value) >= 999.5 && i < units.length - 1) {
    value /= 1000;
    i += 1;
  }
  return [i === 0 ? fixed(value, Number.isInteger(x) ? 0 : 1) : significant(value), units[i]];
}

/** @param {unknown} x @returns {Quantity} */
export const bytes = (x) => (finite(x) ? scaled(x, ['B', 'kB', 'MB', 'GB', 'TB']) : [NONE, '']);

/** @param {unknown} x @returns {Quantity} */
export const bytesPerSecond = (x) => (finite(x) ? scaled(Math.round(x), ['B/s', 'kB/s', 'MB/s', 'GB/s']) : [NONE, '']);

/** @param {unknown} x @returns {Quantity} */
export const hertz = (x) => (finite(x) ? [x >= 99.95 ? fixed(x, 0) : fixed(x, 1), 'Hz'] : [NONE, '']);

/** A share in 0..1 as percent. @param {unknown} x @returns {Quantity} */
export const percent = (x, digits = 1) => (finite(x) ? [fixed(x * 100, digits), '%'] : [NONE, '']);

/** A duration given in nanoseconds. @param {unknown} x @returns {Quantity} */
export function duration(x) {
  if (!finite(x)) return [NONE, ''];
  const a = Math.abs(x);
  if (a < 999.5) return [fixed(x, 0), 'ns'];
  if (a < 999.5e3) return [significant(x / 1e3), 'µs'];
  if (a < 999.5e6) return [significant(x / 1e6), 'ms'];
  if (a < 120e9) return [significant(x / 1e9), 's'];
  if (a < 7200e9) return [`${Math.floor(x / 60e9)}:${String(Math.floor((x / 1e9) % 60)).padStart(2, '0')}`, 'min'];
  return [`${Math.floor(x / 3600e9)}:${String(Math.floor((x / 60e9) % 60)).padStart(2, '0')}`, 'h'];
}

/** @param {unknown} q a Quantity @returns {string} */
export const text = (q) => (Array.isArray(q) ? (q[1] ? `${q[0]}\u00a0${q[1]}` : q[0]) : String(q));

/** Local time of day to the millisecond. @param {unknown} stamp */
export function clock(stamp) {
  const ns = parseStamp(stamp);
  if (ns === null) return NONE;
  const date = new Date(Number(ns / 1000000n));
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Local time of day with all nine digits, in groups. @param {unknown} stamp */
export function clockNs(stamp) {
  const ns = parseStamp(stamp);
  if (ns === null) return NONE;
  const rest = String(ns % 1000000n).padStart(6, '0');
  return `${clock(stamp)}\u202f${rest.slice(0, 3)}\u202f${rest.slice(3)}`;
}

/** Local date and time of day, to the second. @param {unknown} stamp */
export function date(stamp) {
  const ns = parseStamp(stamp);
  if (ns === null) return NONE;
  const d = new Date(Number(ns / 1000000n));
  const iso = new Date(d.getTime() - d.getTimezoneOffset() * 60000).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

/** How long ago, given in seconds. @param {number} s */
export function age(s) {
  if (!Number.isFinite(s)) return NONE;
  if (s < 0.95) return 'now';
  if (s < 60) return `${Math.round(s)}\u00a0s ago`;
  if (s < 3600) return `${Math.floor(s / 60)}\u00a0min ago`;
  return `${Math.floor(s / 3600)}\u00a0h ago`;
}
