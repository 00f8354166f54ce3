// @ts-check
/** Runs and tasks in words: pure, so that tests need no page. */

/** @typedef {{id: string, run: number, workflow: string, status: string, started_at: string, ended_at?: string, result?: any,
 *   reason?: string, failure?: {message: string}}} Run */

/** The statuses a list can be narrowed to, as the API calls them. */
export const STATUSES = /** @type {const} */ (['running', 'blocked', 'completed', 'failed']);

/** @param {string} status of a run or state of a task @returns {'ok' | 'warn' | 'bad' | 'idle'} */
export function kindOf(status) {
  if (status === 'running') return 'ok';
  if (status === 'blocked' || status === 'queued') return 'warn';
  if (status === 'failed') return 'bad';
  return 'idle';
}

/** The path that lists runs. @param {string} status @param {number} limit */
export const listPath = (status, limit) => `/workflows?limit=${limit}${/** @type {readonly string[]} */ (STATUSES).includes(status) ? `&status=${status}` : ''}`;

/** @param {string} id @param {string} tail */
export const runPath = (id, tail = '') => `/workflows/${encodeURIComponent(id)}${tail}`;

/** JSON in one line, cut where it is long. @param {unknown} value */
export function brief(value, most = 120) {
  if (value === undefined) return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** What a run comes to, in one line: why it is blocked or has failed, or its result. @param {Run} run */
export function outcome(run) {
  if (run.status === 'blocked') return run.reason ?? '';
  if (run.status === 'failed') return run.failure?.message ?? '';
  return run.status === 'completed' ? brief(run.result) : '';
}

const SHOWN_APART = new Set(['version', 'position', 'stamp', 'type', 'options']);

/** What an entry of a history says beside its type. @param {Record<string, any>} entry */
export const detail = (entry) => Object.entries(entry).filter(([key, value]) => !SHOWN_APART.has(key) && value !== null)
  .map(([key, value]) => `${key} ${brief(value)}`).join(', ');

/** @param {string} type */
export const typeWords = (type) => type.replaceAll('_', ' ');
