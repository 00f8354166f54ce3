import test from 'node:test';
import assert from 'node:assert/strict';
import { eventsOf, namesBelow, rows, spanWords, spent, wordOf } from '../lib/supervision.js';

const part = (name, more = {}) => ({ name, kind: 'service', state: 'running', restarts: 0, last_failure: '', strategy: null, budget: null, children: [], ...more });
const budget = { at_most: 3, within_ms: 60000, stops_node: false };
const tree = part('node', { kind: 'supervisor', children: [
  part('components', { kind: 'supervisor', children: [part('fusion', { kind: 'component', budget })] }),
  part('services', { kind: 'supervisor', children: [part('ingest', { kind: 'supervisor', budget, children: [part('flight'), part('radio')] })] }),
] });
const at = (s) => `${s}000000000`;
const event = (s, child, what) => ({ at: at(s), supervisor: 'services/ingest', child, what, detail: '' });

test('a supervisor comes before what it supervises, each with its place', () => {
  assert.deepEqual(rows(tree).map((r) => `${r.depth} ${r.path}`), ['0 node', '1 node/components', '2 node/components/fusion', '1 node/services', '2 node/services/ingest', '3 node/services/ingest/flight', '3 node/services/ingest/radio']);
  assert.deepEqual([...namesBelow(rows(tree)[4].node)], ['ingest', 'flight', 'radio']);
});

test('a budget is used by the restarts of all below it, within its time', () => {
  const ingest = rows(tree)[4].node;
  const history = [
    event(10, 'flight', 'started'), event(20, 'flight', 'terminated'), event(20, 'flight', 'started'),
    event(100, 'radio', 'terminated'), event(100, 'radio', 'delayed'), event(101, 'radio', 'start_failed'), event(101, 'radio', 'started'),
    event(110, 'flight', 'terminated'), event(110, 'fusion', 'fault'), event(110, 'fusion', 'started'),
  ];
  assert.equal(spent(ingest, history, 120), 2, 'nothing followed the last end of flight');
  assert.equal(spent(ingest, history, 75), 3);
  assert.equal(spent(ingest, history, 1000), 0);
  assert.equal(spent(rows(tree)[5].node, history, 120), null, 'it has no budget of its own');
});

test('the failure that was one too many is not a restart', () => {
  const ingest = rows(tree)[4].node;
  const history = [1, 2, 3].flatMap((s) => [event(s, 'flight', 'terminated'), event(s, 'flight', 'started')]);
  history.push(event(4, 'flight', 'terminated'), event(4, 'flight', 'budget_spent'));
  assert.equal(spent(ingest, history, 5), 3);
});

test('a history is of a part and of what is below it, newest first', () => {
  const history = [event(1, 'flight', 'started'), event(2, 'fusion', 'fault'), event(3, 'radio', 'started')];
  assert.deepEqual(eventsOf(history, rows(tree)[4].node).map((e) => e.child), ['radio', 'flight']);
  assert.deepEqual(eventsOf(history, null).map((e) => e.child), ['radio', 'fusion', 'flight']);
  assert.equal(history[0].child, 'flight', 'the answer itself is left as it is');
});

test('a part with a supervisor of its own is told of once', () => {
  const history = [{ ...event(1, 'radio', 'started'), supervisor: 'services/radio' }, { ...event(1, 'radio', 'started'), supervisor: 'services' }, { ...event(2, 'radio', 'terminated'), supervisor: 'services' }];
  assert.deepEqual(eventsOf(history, null).map((e) => `${e.supervisor} ${e.what}`), ['services terminated', 'services/radio started']);
});

test('words for people; what is not known is still said', () => {
  assert.deepEqual([wordOf('budget_spent'), wordOf('moved_away')], [['budget spent', 'bad'], ['moved away', 'idle']]);
  assert.deepEqual([3600000, 60000, 90000, 1500, 250].map(spanWords), ['1 h', '1 min', '90 s', '1.5 s', '250 ms']);
});
