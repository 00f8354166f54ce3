// @ts-check
/**
 * The one place that knows the fields of payloads. Everything else speaks the words defined here, so a renamed field is one edit.
 * A reader returns null (or undefined fields) for what is absent; the views then show a dash.
 */
import { parseStamp } from './ids.js';
import { eulerDegrees, tiltDegrees } from './quat.js';

/** @typedef {import('./api.js').Packet} Packet */

/** The first of the fields that is there. @param {any} o @param {...string} names */
function pick(o, ...names) {
  for (const name of names) if (o?.[name] !== undefined && o[name] !== null) return o[name];
  return undefined;
}

/** Three numbers from `[a, b, c]` or from `{x, y, z}` / `{north, east, down}`. @param {any} v @returns {number[] | null} */
function triple(v) {
  if (Array.isArray(v) && v.length >= 3) return v;
  if (v && typeof v === 'object') {
    const list = [pick(v, 'north', 'x'), pick(v, 'east', 'y'), pick(v, 'down', 'z')];
    return list.every((n) => typeof n === 'number') ? list : null;
  }
  return null;
}

/** When the thing was measured, in nanoseconds of its own clock. @param {Packet} packet @returns {bigint | null} */
export function measuredAt(packet) {
  return parseStamp(packet.measured_at?.ns) ?? parseStamp(packet.payload?.measured_at_ns) ?? null;
}

/** How often the autopilot's own filter has reset its heading, from `nav.peer`. @param {any} p */
export const headingResets = (p) => Number(pick(p, 'heading_resets') ?? 0);

/** `nav.state` and `nav.peer`. @param {any} p */
export function estimate(p) {
  const position = triple(pick(p, 'position_ned_m'));
  const velocity = triple(pick(p, 'velocity_ned_m_s'));
  const q = pick(p, 'attitude_body_to_ned');
  const attitude = Array.isArray(q) ? q : q ? [q.w, q.x, q.y, q.z] : null;
  return {
    north: position?.[0] ?? null,
    east: position?.[1] ?? null,
    height: position ? -position[2] : null,
    horizontalSpeed: velocity ? Math.hypot(velocity[0], velocity[1]) : null,
    climb: velocity ? -velocity[2] : null,
    ...(attitude ? { ...eulerDegrees(attitude), tilt: tiltDegrees(attitude) } : { roll: null, pitch: null, yaw: null, tilt: null }),
  };
}

/** One-sigma figures of `nav.state`: three each of attitude (rad), velocity, position, gyro bias, accelerometer bias. @param {any} p */
export function sigmas(p) {
  const s = pick(p, 'sigma');
  if (!Array.isArray(s) || s.length < 9) return { attitude: null, velocity: null, position: null };
  return { attitude: s.slice(0, 3).map((v) => (v * 180) / Math.PI), velocity: s.slice(3, 6), position: s.slice(6, 9) };
}

/** @typedef {{latitude: number, longitude: number, altitude: number}} Origin */

/** Where the local frame of a `nav.state` or `nav.peer` has its origin; each has its own. @param {any} p @returns {Origin | null} */
export function origin(p) {
  const o = triple(pick(p, 'origin'));
  return o && { latitude: o[0], longitude: o[1], altitude: o[2] };
}

/**
 * The innovations a `nav.state` carries: one, several, or none.
 * @param {any} p
 * @returns {{source: string, nis: number, degrees: number, accepted: boolean, at: string}[]}
 */
export const innovations = (p) => (pick(p, 'innovations') ?? []).map((/** @type {any} */ i) => ({
  source: i.kind, nis: i.nis, degrees: i.degrees_of_freedom, accepted: i.accepted !== false, at: String(i.measured_at_ns),
}));

/** `nav.gnss`. @param {any} p */
export const fix = (p) => ({
  latitude: pick(p, 'latitude_deg'),
  longitude: pick(p, 'longitude_deg'),
  altitude: pick(p, 'altitude_m'),
  accuracy: pick(p, 'horizontal_accuracy_m'),
  satellites: pick(p, 'satellites'),
});

/** `nav.score`, the running comparison with the peer. @param {any} p */
export const score = (p) => ({
  elapsed: pick(p, 't_s'),
  position: pick(p, 'position_error_m'),
  height: pick(p, 'height_error_m'),
  tilt: pick(p, 'tilt_error_deg'),
  positionRms: pick(p, 'position_error_rms_m'),
  heightRms: pick(p, 'height_error_rms_m'),
  tiltRms: pick(p, 'tilt_error_rms_deg'),
  positionMax: pick(p, 'position_error_max_m'),
  heldFixRms: pick(p, 'held_fix_rms_m'),
  reference: String(pick(p, 'reference') ?? 'peer').toUpperCase(),
  valid: pick(p, 'reference_valid') !== false,
  validUntil: pick(p, 'reference_valid_until_s'),
  nisShare: pick(p, 'nis_in_band_share'),
  nisBelow: pick(p, 'nis_below_upper_share'),
});

/** `nav.phase`. @param {any} p */
export const phase = (p) => ({ airborne: String(pick(p, 'phase') ?? '').startsWith('airborne') });

/** `nav.geofence`. @param {any} p */
export const geofence = (p) => ({
  breach: pick(p, 'kind') === 'breach',
  height: pick(p, 'height_m'),
  distance: pick(p, 'distance_m'),
});

/** `host.anomaly`. @param {any} p */
export const anomaly = (p) => ({
  stream: String(pick(p, 'stream') ?? ''),
  field: String(pick(p, 'field') ?? ''),
  value: pick(p, 'value'),
  expected: pick(p, 'expected'),
  sigma: pick(p, 'deviation_sigmas'),
  raised: pick(p, 'phase') !== 'cleared',
  critical: pick(p, 'severity') === 'critical',
  lasted: pick(p, 'lasted_s'),
});

/** An end-to-end path of `GET /latencies`. @param {any} p */
export const latency = (p) => ({
  name: `${p.from} → ${p.to}`,
  from: p.from,
  to: p.to,
  count: p.count,
  p50: p.p50,
  p99: p.p99,
  max: p.max,
});

/** `GET /health`. @param {any} answer @returns {{status: string, checks: {name: string, status: string, message: string}[]}} */
export const health = (answer) => ({
  status: String(pick(answer, 'overall_status') ?? 'unknown'),
  checks: pick(answer, 'components') ?? [],
});

/**
 * The answer of `GET /packets/{id}/trace` as hops in time order: along the triggers back to the source, and on to all effects.
 * @param {{why: any, effects: any[]}} answer
 * @returns {{packet: Packet, relation: string}[]}
 */
export function trace(answer) {
  const hops = [];
  for (let at = answer.why; at; at = at.causes?.find((/** @type {any} */ c) => c.relation === 'trigger')) {
    hops.push({ packet: at.packet, relation: at === answer.why ? 'root' : at.causes?.some((/** @type {any} */ c) => c.relation === 'trigger') ? 'trigger' : 'source' });
  }
  const onward = (/** @type {any[]} */ list) => {
    for (const effect of list ?? []) {
      hops.push({ packet: effect.packet, relation: 'effect' });
      onward(effect.causes);
    }
  };
  onward(answer.effects);
  const time = (/** @type {any} */ hop) => parseStamp(hop.packet.stamp) ?? 0n;
  return hops.sort((a, b) => (time(a) < time(b) ? -1 : time(a) > time(b) ? 1 : 0));
}

/** The streams of the machine, in the order they are shown. Values are in base units; `unit` picks the formatter. */
export const MACHINE = [
  { key: 'cpu', topic: 'host.cpu', label: 'CPU', of: (/** @type {any} */ p) => pick(p, 'busy_share'), unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'load', value: pick(p, 'load_1m'), unit: 'load' }) },
  { key: 'memory', topic: 'host.memory', label: 'Memory', of: (/** @type {any} */ p) => pick(p, 'used_share'), unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'free', value: pick(p, 'available_bytes'), unit: 'bytes' }) },
  { key: 'disk', topic: 'host.disk', label: 'Disk write', of: (/** @type {any} */ p) => pick(p, 'write_bytes_per_s'), unit: 'rate', max: null,
    more: (/** @type {any} */ p) => ({ what: 'read', value: pick(p, 'read_bytes_per_s'), unit: 'rate' }) },
  { key: 'network', topic: 'host.network', label: 'Network in', of: (/** @type {any} */ p) => pick(p, 'received_bytes_per_s'), unit: 'rate', max: null,
    more: (/** @type {any} */ p) => ({ what: 'out', value: pick(p, 'sent_bytes_per_s'), unit: 'rate' }) },
  { key: 'pressure', topic: 'host.pressure', label: 'CPU pressure', of: (/** @type {any} */ p) => pick(p, 'cpu_some_share'), unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'i/o', value: pick(p, 'io_some_share'), unit: 'share' }) },
  { key: 'process', topic: 'host.process', label: 'This node', of: (/** @type {any} */ p) => pick(p, 'cpu_share'), unit: 'share', max: null,
    more: (/** @type {any} */ p) => ({ what: 'resident', value: pick(p, 'resident_bytes'), unit: 'bytes' }) },
  { key: 'clock', topic: 'host.clock', label: 'TSC − OS clock', of: (/** @type {any} */ p) => pick(p, 'tsc_minus_os_ns'), unit: 'ns', max: null,
    more: (/** @type {any} */ p) => ({ what: '±', value: pick(p, 'uncertainty_ns'), unit: 'ns' }) },
];
