import test from 'node:test';
import assert from 'node:assert/strict';
import { brief, detail, kindOf, listPath, outcome, runPath, typeWords } from '../lib/workflows.js';

const run = (status, more = {}) => ({ id: 'order-1', run: 0, workflow: 'order', status, started_at: '1', ...more });

test('a list is narrowed only by what the node knows', () => {
  assert.equal(listPath('blocked', 50), '/workflows?limit=50&status=blocked');
  assert.equal(listPath('sleepy', 50), '/workflows?limit=50');
  assert.equal(listPath('', 50), '/workflows?limit=50');
  assert.equal(runPath('a/b c', '/history'), '/workflows/a%2Fb%20c/history');
});

test('a run says what it comes to: why it is blocked or failed, or its result', () => {
  assert.equal(outcome(run('blocked', { reason: 'entry 2 is step 1' })), 'entry 2 is step 1');
  assert.equal(outcome(run('failed', { failure: { message: 'no ink' } })), 'no ink');
  assert.equal(outcome(run('completed', { result: { parcel: 17 } })), '{"parcel":17}');
  assert.equal(outcome(run('running')), '');
});

test('an entry says what it holds, without what stands in columns', () => {
  const entry = { version: 2, position: 9, stamp: '5', type: 'activity_scheduled', seq: 1, activity: 'reserve', input: { n: 1 }, options: {}, parent: null };
  assert.equal(detail(entry), 'seq 1, activity reserve, input {"n":1}');
  assert.equal(typeWords(entry.type), 'activity scheduled');
});

test('long values are cut, and states have a kind', () => {
  assert.equal(brief('x'.repeat(200), 10), `${'x'.repeat(9)}…`);
  assert.equal(brief(undefined), '');
  assert.deepEqual(['running', 'queued', 'blocked', 'failed', 'completed', 'cancelled'].map(kindOf), ['ok', 'warn', 'warn', 'bad', 'idle', 'idle']);
});
