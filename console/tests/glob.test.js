import test from 'node:test';
import assert from 'node:assert/strict';
import { matcher, filter } from '../lib/glob.js';

test('a star is one segment, a greater-than the rest', () => {
  const cases = [
    ['nav.*', 'nav.imu', true], ['nav.*', 'nav', false], ['nav.*', 'nav.imu.raw', false], ['*.imu', 'nav.imu', true],
    ['host.>', 'host.cpu', true], ['host.>', 'host.cpu.core0', true], ['host.>', 'host', false], ['>', 'a.b.c', true],
    ['nav.imu', 'nav.imu', true], ['nav.imu', 'nav.imu2', false], ['nav', 'nav.imu', false],
  ];
  for (const [glob, topic, expected] of cases) assert.equal(matcher(glob)(topic), expected, `${glob} on ${topic}`);
});

test('commas separate alternatives', () => {
  const match = matcher('nav.state, host.>');
  assert.ok(match('nav.state') && match('host.cpu') && !match('nav.imu'));
  assert.equal(matcher('')('nav.imu'), false);
});

test('a filter reads globs as globs and words as words that all occur', () => {
  assert.ok(filter('nav.*')('nav.imu'));
  assert.ok(!filter('nav.*')('host.nav.x'));
  assert.ok(filter('FUSION state')('nav.state', 'avionics.nav-state@1', 'fusion'));
  assert.ok(!filter('fusion cpu')('nav.state', 'fusion'));
  assert.ok(filter('  ')('anything'));
});
