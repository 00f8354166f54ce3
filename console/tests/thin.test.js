import test from 'node:test';
import assert from 'node:assert/strict';
import { minMaxIndices, stride, simplify, indexAt } from '../lib/thin.js';

test('a single spike survives thinning', () => {
  const values = Array(10_000).fill(0);
  values[4321] = 9;
  values[8765] = -9;
  const kept = minMaxIndices(values, 100);
  assert.ok(kept.includes(4321) && kept.includes(8765));
  assert.ok(kept.length <= 202);
});

test('thinning keeps ends and order, and leaves short lists alone', () => {
  const kept = minMaxIndices(Array.from({ length: 5000 }, (_, i) => Math.sin(i)), 50);
  assert.equal(kept[0], 0);
  assert.equal(kept.at(-1), 4999);
  assert.ok(kept.every((v, i) => i === 0 || v > kept[i - 1]));
  assert.deepEqual(minMaxIndices([3, 1, 2], 50), [0, 1, 2]);
  assert.deepEqual(minMaxIndices([], 50), []);
});

test('striding obeys its limit and keeps the newest', () => {
  const list = Array.from({ length: 1001 }, (_, i) => i);
  for (const limit of [2, 7, 100, 1000]) {
    const out = stride(list, limit);
    assert.ok(out.length <= limit + 1, `${out.length} for ${limit}`);
    assert.equal(out.at(-1), 1000);
  }
  assert.equal(stride(list, 2000), list);
});

test('a straight path needs two points, a corner three', () => {
  const straight = Array.from({ length: 500 }, (_, i) => [i, 2 * i]);
  assert.equal(simplify(straight, 0.1).length, 2);
  const corner = [...straight, ...Array.from({ length: 500 }, (_, i) => [500 + i, 998 - i])];
  assert.ok(simplify(corner, 1).length <= 4);
  assert.deepEqual(simplify([[0, 0], [0, 0], [0, 0]], 1), [[0, 0], [0, 0]]);
});

test('the element at a time is the last one not after it', () => {
  const list = [{ t: 1 }, { t: 2 }, { t: 4 }];
  const at = (t) => indexAt(list, t, (s) => s.t);
  assert.deepEqual([0, 1, 3.9, 4, 99].map(at), [-1, 0, 1, 2, 2]);
  assert.equal(indexAt([], 1, (s) => s.t), -1);
});
