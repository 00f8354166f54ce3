import test from 'node:test';
import assert from 'node:assert/strict';
import * as shapes from '../lib/shapes.js';
import { parseHash, makeHash } from '../lib/router.js';
import { chi2Band95, niceStep, range } from '../lib/statistics.js';

test('down is negative height, up is positive climb', () => {
  const e = shapes.estimate({ position_ned_m: [1, 2, -17], velocity_ned_m_s: [3, 4, 0.5], attitude_body_to_ned: [1, 0, 0, 0] });
  assert.deepEqual([e.north, e.east, e.height, e.horizontalSpeed, e.climb, e.roll], [1, 2, 17, 5, -0.5, 0]);
});

test('an estimate without fields is all absent, never zero', () => {
  const e = shapes.estimate({});
  assert.deepEqual(Object.values(e).filter((v) => v !== null), []);
});

test('sigma is attitude, velocity, position, then the biases', () => {
  const s = shapes.sigmas({ sigma: [Math.PI / 180, 0, 0, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0] });
  assert.deepEqual(s, { attitude: [1, 0, 0], velocity: [4, 5, 6], position: [7, 8, 9] });
  assert.equal(shapes.sigmas({}).attitude, null);
});

test('an origin is latitude, longitude, altitude', () => {
  assert.deepEqual(shapes.origin({ origin: [20, 110, 8] }), { latitude: 20, longitude: 110, altitude: 8 });
  assert.equal(shapes.origin({ origin: null }), null);
});

test('innovations keep their kind, degrees and verdict', () => {
  const one = { kind: 'gnss', nis: 2.5, degrees_of_freedom: 3, measured_at_ns: 5, accepted: true };
  assert.deepEqual(shapes.innovations({ innovations: [one] }), [{ source: 'gnss', nis: 2.5, degrees: 3, accepted: true, at: '5' }]);
  assert.deepEqual(shapes.innovations({ innovations: [] }), []);
  assert.deepEqual(shapes.innovations({}), []);
});

test('measured_at comes from the envelope first', () => {
  assert.equal(shapes.measuredAt({ measured_at: { clock: 'px4', ns: '10612345000' }, payload: { measured_at_ns: 1 } }), 10612345000n);
  assert.equal(shapes.measuredAt({ payload: { measured_at_ns: 7 } }), 7n);
  assert.equal(shapes.measuredAt({ payload: {} }), null);
});

test('an address survives the way there and back', () => {
  const hash = makeHash('topics', 'nav.state', { filter: 'nav.* fusion', sort: '-rate', empty: '', none: null });
  assert.deepEqual(parseHash(hash), { view: 'topics', arg: 'nav.state', params: { filter: 'nav.* fusion', sort: '-rate' } });
  assert.deepEqual(parseHash('#/nowhere/x'), { view: 'overview', arg: '', params: {} });
});

test('the band is the published chi-squared quantiles', () => {
  // NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.4: 3 degrees, 0.025 and 0.975.
  const [low, high] = chi2Band95(3);
  assert.ok(Math.abs(low - 0.216) < 5e-4 && Math.abs(high - 9.348) < 5e-4);
  assert.equal(chi2Band95(0), null);
});

test('axes get round steps', () => {
  assert.deepEqual([1, 2.3, 5, 18, 0.07].map((span) => niceStep(span)), [0.2, 0.5, 1, 5, 0.01]);
  assert.equal(range([null, NaN, undefined]), null);
  assert.deepEqual(range([2, null, -1]), [-1, 2]);
});
