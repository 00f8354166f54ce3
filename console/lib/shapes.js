// @ts-check
/**
 * The one place that knows the fields of payloads. Everything else speaks the words defined here, so a renamed field is one edit.
 * What is absent is null or undefined; the views then show a dash.
 */
import { parseStamp } from './ids.js';
import { eulerDegrees, tiltDegrees } from './quat.js';

/** @typedef {import('./api.js').Packet} Packet */

/** @typedef {[number, number, number] | undefined} Triple */

/** When the thing was measured, in nanoseconds of its own clock. @param {Packet} packet @returns {bigint | null} */
export function measuredAt(packet) {
  return parseStamp(packet.measured_at?.ns) ?? parseStamp(packet.payload?.measured_at_ns) ?? null;
}

/** `nav.state` and `nav.peer`. @param {any} p */
export function estimate(p) {
  const /** @type {Triple} */ position = p.position_ned_m ?? undefined;
  const /** @type {Triple} */ velocity = p.velocity_ned_m_s ?? undefined;
  const /** @type {number[] | undefined} */ attitude = p.attitude_body_to_ned ?? undefined;
  return {
    north: position?.[0] ?? null,
    east: position?.[1] ?? null,
    height: position ? -position[2] : null,
    horizontalSpeed: velocity ? Math.hypot(velocity[0], velocity[1]) : null,
    climb: velocity ? -velocity[2] : null,
    ...(attitude ? { ...eulerDegrees(attitude), tilt: tiltDegrees(attitude) } : { roll: null, pitch: null, yaw: null, tilt: null }),
  };
}

/** One-sigma figures of `nav.state`: attitude (as degrees), velocity, position. @param {any} p */
export function sigmas(p) {
  const /** @type {number[] | undefined} */ all = p.sigma;
  return {
    attitude: all ? all.slice(0, 3).map((v) => (v * 180) / Math.PI) : null,
    velocity: all ? all.slice(3, 6) : null,
    position: all ? all.slice(6, 9) : null,
  };
}

/** Where the local frame of `nav.state` or `nav.peer` has its origin. @param {any} p @returns {{latitude: number, longitude: number, altitude: number} | null} */
export const origin = (p) => (p.origin ? { latitude: p.origin[0], longitude: p.origin[1], altitude: p.origin[2] } : null);

/** The innovations since the state before. @param {any} p @returns {{source: string, nis: number, degrees: number, at: string}[]} */
export const innovations = (p) => (p.innovations ?? []).map((/** @type {any} */ i) => ({
  source: i.kind,
  nis: i.nis,
  degrees: i.degrees_of_freedom,
  at: String(i.measured_at_ns),
}));

/** `nav.gnss`. @param {any} p */
export const fix = (p) => ({
  latitude: p.latitude_deg,
  longitude: p.longitude_deg,
  altitude: p.altitude_m,
  accuracy: p.horizontal_accuracy_m,
  satellites: p.satellites,
});

/** `nav.score`, the running comparison with the reference. @param {any} p */
export const score = (p) => ({
  position: p.position_error_m,
  height: p.height_error_m,
  tilt: p.tilt_error_deg,
  positionRms: p.position_error_rms_m,
  heightRms: p.height_error_rms_m,
  tiltRms: p.tilt_error_rms_deg,
  heldFixRms: p.held_fix_rms_m,
  reference: String(p.reference ?? 'peer').toUpperCase(),
  valid: p.reference_valid !== false,
  nisShare: p.nis_in_band_share,
  nisBelowUpper: p.nis_below_upper_share,
});

/** `nav.phase`. @param {any} p */
export const phase = (p) => ({ airborne: p.phase === 'airborne' });

/** `nav.geofence`. @param {any} p */
export const geofence = (p) => ({ breach: p.kind === 'breach', outside: p.outside_m, height: p.height_m });

/** `host.anomaly`. @param {any} p */
export const anomaly = (p) => ({
  stream: p.stream,
  field: p.field,
  value: p.value,
  expected: p.expected,
  sigma: p.deviation_sigmas,
  raised: p.phase !== 'cleared',
  critical: p.severity === 'critical',
  lasted: p.lasted_s,
});

/** An end-to-end path of `GET /latencies`. @param {any} p */
export const latency = (p) => ({ name: `${p.from} → ${p.to}`, from: p.from, to: p.to, count: p.count, p50: p.p50, p99: p.p99, max: p.max });

/** `GET /health`. @param {any} answer @returns {{status: string, checks: {name: string, status: string, message: string}[]}} */
export const health = (answer) => ({ status: answer?.overall_status ?? 'unknown', checks: answer?.components ?? [] });

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
  { key: 'cpu', topic: 'host.cpu', label: 'CPU', of: (/** @type {any} */ p) => p?.busy_share, unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'load', value: p?.load_1m, unit: 'load' }) },
  { key: 'memory', topic: 'host.memory', label: 'Memory', of: (/** @type {any} */ p) => p?.used_share, unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'free', value: p?.available_bytes, unit: 'bytes' }) },
  { key: 'disk', topic: 'host.disk', label: 'Disk write', of: (/** @type {any} */ p) => p?.write_bytes_per_s, unit: 'rate', max: null,
    more: (/** @type {any} */ p) => ({ what: 'read', value: p?.read_bytes_per_s, unit: 'rate' }) },
  { key: 'network', topic: 'host.network', label: 'Network in', of: (/** @type {any} */ p) => p?.received_bytes_per_s, unit: 'rate', max: null,
    more: (/** @type {any} */ p) => ({ what: 'out', value: p?.sent_bytes_per_s, unit: 'rate' }) },
  { key: 'pressure', topic: 'host.pressure', label: 'CPU pressure', of: (/** @type {any} */ p) => p?.cpu_some_share, unit: 'share', max: 1,
    more: (/** @type {any} */ p) => ({ what: 'i/o', value: p?.io_some_share, unit: 'share' }) },
  { key: 'process', topic: 'host.process', label: 'This node', of: (/** @type {any} */ p) => p?.cpu_share, unit: 'share', max: null,
    more: (/** @type {any} */ p) => ({ what: 'resident', value: p?.resident_bytes, unit: 'bytes' }) },
  { key: 'clock', topic: 'host.clock', label: 'TSC − OS clock', of: (/** @type {any} */ p) => p?.tsc_minus_os_ns, unit: 'ns', max: null,
    more: (/** @type {any} */ p) => ({ what: '±', value: p?.uncertainty_ns, unit: 'ns' }) },
];
