import test from 'node:test';
import assert from 'node:assert/strict';
import { parseId, isId, parseStamp, elapsedNs, secondsSince, stampSeconds } from '../lib/ids.js';

test('an id is node, incarnation, lane and sequence', () => {
  assert.deepEqual(parseId('1.2.3-42'), { node: 1, incarnation: 2, lane: 3, sequence: 42n });
  assert.equal(parseId(' 1.1.1-18446744073709551615 ').sequence, 18446744073709551615n);
  for (const wrong of ['', '1.1-1', '1.1.1', '1.1.1-', 'a.b.c-d', '1.1.1-1-1', '1.1.1.1-1']) assert.equal(isId(wrong), false, wrong);
});

test('a stamp keeps its last nanosecond', () => {
  // 1795208400123456789 is above 2^53; as a JSON number it would come back as …456800.
  assert.equal(elapsedNs('1795208400123456789', '1795208400123456788'), 1);
  assert.equal(parseStamp('1795208400123456789'), 1795208400123456789n);
});

test('what is no stamp is null, never zero', () => {
  for (const wrong of [undefined, null, '', '12.5', 'x', 1795208400123456789, 1.5, {}]) assert.equal(parseStamp(wrong), null, String(wrong));
  assert.equal(elapsedNs('5', undefined), null);
  assert.ok(Number.isNaN(stampSeconds('')));
});

test('seconds are differences of exact stamps', () => {
  assert.equal(secondsSince(1795208400123456789n, 1795208400000000000n), 0.123456789);
  assert.equal(secondsSince(0n, 1_500_000_000n), -1.5);
  assert.equal(stampSeconds('1795208400500000000'), 1795208400.5);
});
