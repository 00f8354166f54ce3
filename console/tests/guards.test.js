import test from 'node:test';
import assert from 'node:assert/strict';
import { breakerWords, guardsOf, slotsWords } from '../lib/guards.js';

const guard = {
  name: 'gate', attached: { topics: ['plant.order'], calls: ['feed.fetch'] }, calls: 9, failed: 4, timeouts: 1, try_timeouts: 2,
  breaker: { state: 'open', refused_total: 2, failure_rate: 0.5, retry_in_ms: 4200 }, bulkhead: { in_use: 3, max_concurrent: 10, rejected: 1 },
  rate_limit: { limited: 4 }, retry: { spent: 5 },
};

test('a guard is one row: what it refused is the sum of its stages', () => {
  const [row] = guardsOf({ guards: [guard] });
  assert.deepEqual(row.around, ['plant.order', 'feed.fetch']);
  assert.deepEqual([row.calls, row.failed, row.refused, row.retries, row.timedOut], [9, 4, 7, 5, 3]);
  assert.equal(slotsWords(row.slots), '3 of 10');
});

test('stages that are not there are not shown', () => {
  const [row] = guardsOf({ guards: [{ ...guard, breaker: null, bulkhead: null, rate_limit: null, retry: null }] });
  assert.deepEqual([row.breaker, row.refused, row.retries, slotsWords(row.slots)], [null, 0, 0, '–']);
  assert.deepEqual(guardsOf(null), []);
});

test('a breaker says when it lets calls through again', () => {
  assert.deepEqual(breakerWords({ state: 'closed', failureRate: null, retryInMs: null }), ['closed', 'ok']);
  assert.deepEqual(breakerWords({ state: 'open', failureRate: 0.5, retryInMs: 4200 }), ['open, again in 5 s', 'bad']);
  assert.deepEqual(breakerWords({ state: 'forced_open', failureRate: null, retryInMs: null }), ['forced open', 'bad']);
  assert.equal(breakerWords({ state: 'half_open', failureRate: null, retryInMs: null })[1], 'warn');
});
