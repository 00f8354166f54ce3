import test from 'node:test';
import assert from 'node:assert/strict';
import { eulerDegrees, tiltDegrees, localNorthEast } from '../lib/quat.js';

const close = (a, b, tolerance = 1e-9) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);
const s = Math.SQRT1_2;

test('pure turns come back as the one angle they are', () => {
  const half = Math.PI / 12; // 15 degrees: half of 30
  close(eulerDegrees([Math.cos(half), Math.sin(half), 0, 0]).roll, 30);
  close(eulerDegrees([Math.cos(half), 0, Math.sin(half), 0]).pitch, 30);
  close(eulerDegrees([Math.cos(half), 0, 0, Math.sin(half)]).yaw, 30);
});

test('yaw stays within a full turn', () => {
  close(eulerDegrees([s, 0, 0, -s]).yaw, 270);
  close(eulerDegrees([1, 0, 0, 0]).yaw, 0);
});

test('the sign of a quaternion means nothing', () => {
  const q = [0.4731799, 0.0158483, -0.0120757, -0.8807405];
  const a = eulerDegrees(q);
  const b = eulerDegrees(q.map((v) => -v));
  for (const angle of ['roll', 'pitch', 'yaw']) close(a[angle], b[angle]);
});

test('angles build the quaternion again', () => {
  const { roll, pitch, yaw } = eulerDegrees(fromEuler(35, -12, 200));
  close(roll, 35, 1e-9);
  close(pitch, -12, 1e-9);
  close(yaw, 200, 1e-9);
});

test('straight up and an empty quaternion do not break anything', () => {
  close(eulerDegrees([s, 0, s, 0]).pitch, 90, 1e-5);
  assert.deepEqual(eulerDegrees([0, 0, 0, 0]), { roll: 0, pitch: 0, yaw: 0 });
});

test('tilt is the angle to the vertical whatever the heading', () => {
  close(tiltDegrees(fromEuler(10, 0, 123)), 10, 1e-9);
  close(tiltDegrees(fromEuler(180, 0, 0)), 180, 1e-5);
  close(tiltDegrees(fromEuler(0, 0, 77)), 0, 1e-5);
});

test('a minute of latitude is a nautical mile or so', () => {
  // WGS 84 meridian arc at 45 degrees: 111 131.7 m a degree (NIMA TR8350.2).
  const p = localNorthEast(45.01, 7, { latitude: 45, longitude: 7 });
  close(p.north, 1111.317, 0.2);
  close(p.east, 0);
});

function fromEuler(roll, pitch, yaw) {
  const [a, b, c] = [roll, pitch, yaw].map((d) => (d * Math.PI) / 360);
  const { cos, sin } = Math;
  return [
    cos(a) * cos(b) * cos(c) + sin(a) * sin(b) * sin(c),
    sin(a) * cos(b) * cos(c) - cos(a) * sin(b) * sin(c),
    cos(a) * sin(b) * cos(c) + sin(a) * cos(b) * sin(c),
    cos(a) * cos(b) * sin(c) - sin(a) * sin(b) * cos(c),
  ];
}
