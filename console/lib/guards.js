// @ts-check
/** Guards as the views show them. */

/**
 * @typedef {{name: string, around: string[], breaker: {state: string, failureRate: number | null, retryInMs: number | null} | null,
 *   calls: number, failed: number, refused: number, retries: number, timedOut: number, slots: {used: number, of: number} | null}} GuardRow
 */

/** One row per guard of `GET /resilience`. @param {any} answer @returns {GuardRow[]} */
export const guardsOf = (answer) => (answer?.guards ?? []).map((/** @type {any} */ g) => ({
  name: g.name,
  around: [...(g.attached?.topics ?? []), ...(g.attached?.calls ?? [])],
  breaker: g.breaker && { state: g.breaker.state, failureRate: g.breaker.failure_rate, retryInMs: g.breaker.retry_in_ms },
  calls: g.calls,
  failed: g.failed,
  refused: (g.breaker?.refused_total ?? 0) + (g.bulkhead?.rejected ?? 0) + (g.rate_limit?.limited ?? 0),
  retries: g.retry?.spent ?? 0,
  timedOut: g.timeouts + g.try_timeouts,
  slots: g.bulkhead && { used: g.bulkhead.in_use, of: g.bulkhead.max_concurrent },
}));

/** A breaker's state in words, and how it looks. @param {NonNullable<GuardRow['breaker']>} breaker @returns {[string, string]} */
export function breakerWords({ state, retryInMs }) {
  if (state === 'closed') return ['closed', 'ok'];
  if (state === 'half_open') return ['half open: probing', 'warn'];
  const again = retryInMs === null || retryInMs === undefined ? '' : `, again in ${Math.ceil(retryInMs / 1000)} s`;
  return [`${state.replaceAll('_', ' ')}${again}`, 'bad'];
}

/** @param {GuardRow['slots']} slots */
export const slotsWords = (slots) => (slots ? `${slots.used} of ${slots.of}` : '–');
