// @ts-check
/** The supervision tree as rows, and how much of a restart budget is used: pure, so that tests need no page. */
import { stampSeconds } from './ids.js';

/** @typedef {{name: string, kind: string, state: string, restarts: number, last_failure: string, strategy: string | null,
 *   budget: {at_most: number, within_ms: number, stops_node: boolean} | null, children: TreeNode[]}} TreeNode */
/** @typedef {{at: string, supervisor: string, child: string, what: string, detail: string}} TreeEvent */
/** @typedef {{node: TreeNode, depth: number, path: string, last: boolean}} Row */

/** The tree in the order it is drawn: each supervisor before what it supervises. @param {TreeNode} root @returns {Row[]} */
export function rows(root) {
  /** @type {Row[]} */
  const list = [];
  const walk = (/** @type {TreeNode} */ node, /** @type {number} */ depth, /** @type {string} */ above, /** @type {boolean} */ last) => {
    const path = above ? `${above}/${node.name}` : node.name;
    list.push({ node, depth, path, last });
    node.children.forEach((child, i) => walk(child, depth + 1, path, i === node.children.length - 1));
  };
  walk(root, 0, '', true);
  return list;
}

/** Names of a node and of all below it. @param {TreeNode} node @returns {Set<string>} */
export function namesBelow(node) {
  const names = new Set([node.name]);
  for (const child of node.children) for (const name of namesBelow(child)) names.add(name);
  return names;
}

/**
 * What happened to a part or to those below it, newest first. A part with a supervisor of its own is told of twice, by that and by the
 * one above; the nearer one is enough.
 * @param {TreeEvent[]} history @param {TreeNode | null} node
 */
export function eventsOf(history, node) {
  const names = node && namesBelow(node);
  const own = new Set(history.filter((e) => e.supervisor.endsWith(`/${e.child}`)).map((e) => e.supervisor));
  const isTwice = (/** @type {TreeEvent} */ e) => e.what === 'started' && own.has(`${e.supervisor}/${e.child}`);
  return history.filter((e) => (!names || names.has(e.child)) && !isTwice(e)).reverse();
}

/** Ends that a supervisor may answer with a restart, and what it says when it does. A handler that failed had no effect and is no end. */
const ENDS = new Set(['terminated', 'start_failed']);
const ANSWERS = new Set(['started', 'delayed', 'start_failed']);

/**
 * Restarts of a node's budget within its time, as far as the history goes back; null where it has none. An end that nothing followed,
 * such as the one that was one too many, cost no restart.
 * @param {TreeNode} node @param {TreeEvent[]} history oldest first @param {number} now_s seconds since the Unix epoch
 */
export function spent(node, history, now_s) {
  if (!node.budget) return null;
  const from = now_s - node.budget.within_ms / 1000;
  const names = namesBelow(node);
  /** @type {Set<string>} children that something was done for, later than where we are */
  const answered = new Set();
  let used = 0;
  for (const event of [...history].reverse()) {
    if (!names.has(event.child)) continue;
    if (ENDS.has(event.what) && answered.has(event.child) && stampSeconds(event.at) >= from) used += 1;
    if (ENDS.has(event.what)) answered.delete(event.child);
    if (ANSWERS.has(event.what)) answered.add(event.child);
  }
  return used;
}

/** Of one kind of event: a word for people, and how bad it is. @type {Record<string, [string, 'ok' | 'warn' | 'bad' | 'idle']>} */
const WORDS = {
  started: ['started', 'ok'],
  restored: ['has its state', 'ok'],
  fault: ['handler failed', 'warn'],
  terminated: ['ended', 'bad'],
  start_failed: ['start failed', 'bad'],
  delayed: ['waits', 'warn'],
  shutdown_failed: ['did not stop in order', 'bad'],
  budget_spent: ['budget spent', 'bad'],
};

/** @param {string} what @returns {[string, 'ok' | 'warn' | 'bad' | 'idle']} */
export const wordOf = (what) => WORDS[what] ?? [what.replaceAll('_', ' '), 'idle'];

/** A strategy as the book calls it. @param {string | null} strategy */
export const strategyWords = (strategy) => (strategy ?? '').replaceAll('_', ' ');

/** A time span in words: 60000 ms is a minute. @param {number} ms */
export function spanWords(ms) {
  if (ms % 3600000 === 0) return `${ms / 3600000} h`;
  if (ms % 60000 === 0) return `${ms / 60000} min`;
  if (ms >= 1000) return `${ms / 1000} s`;
  return `${ms} ms`;
}
