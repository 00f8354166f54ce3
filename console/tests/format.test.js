import test from 'node:test';
import assert from 'node:assert/strict';
import * as f from '../lib/format.js';

test('what is absent is a dash without a unit', () => {
  for (const format of [f.bytes, f.hertz, f.percent, f.duration, f.bytesPerSecond]) {
    for (const nothing of [null, undefined, NaN, '1', Infinity]) assert.deepEqual(format(nothing), [f.NONE, '']);
  }
  assert.deepEqual(f.quantity(undefined, 'm'), [f.NONE, '']);
  assert.equal(f.count(undefined), f.NONE);
});

test('durations choose the unit a person would', () => {
  const cases = [[0, '0 ns'], [950, '950 ns'], [1400, '1.40 µs'], [14200, '14.2 µs'], [999600, '1.00 ms'], [412e6, '412 ms'], [2.5e9, '2.50 s'], [185e9, '3:05 min'], [7260e9, '2:01 h']];
  for (const [ns, expected] of cases) assert.equal(f.text(f.duration(ns)).replace('\u00a0', ' '), expected);
});

test('bytes are decimal and never show 1000 of a unit', () => {
  const cases = [[0, '0 B'], [999, '999 B'], [999.6, '1.00 kB'], [1000, '1.00 kB'], [999_499, '999 kB'], [999_600, '1.00 MB'], [25_300_000_000, '25.3 GB']];
  for (const [n, expected] of cases) assert.equal(f.text(f.bytes(n)).replace('\u00a0', ' '), expected);
});

test('negative numbers carry a real minus and zero carries none', () => {
  assert.equal(f.fixed(-1.234), '\u22121.23');
  assert.equal(f.fixed(-0.001), '0.00');
});

test('counts are grouped', () => {
  assert.equal(f.count(1234567), '1\u202f234\u202f567');
  assert.equal(f.count(999), '999');
});

test('a time of day keeps nine digits', () => {
  assert.match(f.clockNs('1795208400123456789'), /^\d\d:\d\d:\d\d\.123\u202f456\u202f789$/);
  assert.equal(f.clock(undefined), f.NONE);
});

test('ages are short', () => {
  assert.deepEqual([0.2, 5, 59.4, 61, 7201, NaN].map((s) => f.age(s).replace('\u00a0', ' ')), ['now', '5 s ago', '59 s ago', '1 min ago', '2 h ago', f.NONE]);
});
