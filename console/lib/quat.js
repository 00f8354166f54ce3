// @ts-check
/**
 * Quaternions `[w, x, y, z]`, body to NED, Hamilton convention; Euler angles in the aerospace order yaw, pitch, roll (3-2-1).
 * Reference: Diebel, "Representing Attitude" (2006), section 8.11 for the 3-2-1 angles of a unit quaternion.
 */

/** @typedef {[number, number, number, number]} Quaternion */

const DEGREES = 180 / Math.PI;

/** Roll, pitch and yaw in degrees; yaw in [0, 360). @param {number[]} q */
export function eulerDegrees(q) {
  const [w, x, y, z] = normalised(q);
  const roll = Math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y));
  const pitch = Math.asin(Math.max(-1, Math.min(1, 2 * (w * y - z * x))));
  const yaw = Math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z));
  return { roll: roll * DEGREES, pitch: pitch * DEGREES, yaw: ((yaw * DEGREES) % 360 + 360) % 360 };
}

/** The angle between the body's and the world's vertical, in degrees. @param {number[]} q */
export function tiltDegrees(q) {
  const [, x, y] = normalised(q);
  return Math.acos(Math.max(-1, Math.min(1, 1 - 2 * (x * x + y * y)))) * DEGREES;
}

/** @param {number[]} q @returns {Quaternion} */
function normalised(q) {
  const length = Math.hypot(q[0], q[1], q[2], q[3]);
  return length > 0 ? [q[0] / length, q[1] / length, q[2] / length, q[3] / length] : [1, 0, 0, 0];
}

/**
 * Metres north and east of a reference point, on a sphere of the local radius; below 1 cm of error within 5 km.
 * @param {number} latitude @param {number} longitude @param {{latitude: number, longitude: number}} reference where both are zero
 */
export function localNorthEast(latitude, longitude, reference) {
  const phi = reference.latitude / DEGREES;
  const s = Math.sin(phi) ** 2;
  const a = 6378137;
  const e2 = 0.00669437999014; // WGS 84 first eccentricity squared
  const meridian = (a * (1 - e2)) / (1 - e2 * s) ** 1.5;
  const normal = a / Math.sqrt(1 - e2 * s);
  return {
    north: ((latitude - reference.latitude) / DEGREES) * meridian,
    east: ((longitude - reference.longitude) / DEGREES) * normal * Math.cos(phi),
  };
}
