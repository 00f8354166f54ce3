// @ts-check
/** The keyboard comes first. Views add their own keys with `data-key` on what should be clicked. */
import { page } from './store.js';
import { router } from './router.js';
import { theme } from './theme.js';

/** @type {[string, string][]} shown by `?` */
export const KEYS = [
  ['/', 'filter or search on this page'],
  ['g', 'go to a view, topic, component or packet'],
  ['1 … 7', 'overview, graph, topics, why, supervision, workflows, node'],
  ['space', 'pause or continue the page (data keeps arriving)'],
  ['← →', 'move the time cursor by 0.1 s (with shift by 1 s)'],
  ['Esc', 'release the cursor, close a dialog, leave a field'],
  ['j k', 'next and previous row'],
  ['t', 'dark or light'],
  ['?', 'this help'],
];

const VIEW_BY_KEY = { 1: 'overview', 2: 'graph', 3: 'topics', 4: 'why', 5: 'supervision', 6: 'workflows', 7: 'node' };

export function startKeys() {
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || page.dialog) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const typing = target.matches('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape') return escape(target, typing);
    if (typing || (event.key === ' ' && target.matches('button, a, summary'))) return;
    if (act(event)) event.preventDefault();
  });
}

/** @param {HTMLElement} target @param {boolean} typing */
function escape(target, typing) {
  if (typing) target.blur();
  else if (router.route.params.t) router.set({ t: null });
}

/** @param {KeyboardEvent} event @returns {boolean} whether the key meant something */
function act(event) {
  const view = VIEW_BY_KEY[/** @type {keyof typeof VIEW_BY_KEY} */ (Number(event.key))];
  if (view) router.go(view);
  else if (event.key === '/') return focusFilter();
  else if (event.key === 'g') page.open('go');
  else if (event.key === '?') page.open('help');
  else if (event.key === ' ') page.togglePause();
  else if (event.key === 't') theme.toggle();
  else if (event.key === 'j' || event.key === 'k') return moveRow(event.key === 'j' ? 1 : -1);
  else return false;
  return true;
}

function focusFilter() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector('[data-filter]'));
  if (!field) return false;
  field.focus();
  field.select();
  return true;
}

/** @param {number} step */
function moveRow(step) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-row]')]);
  if (!rows.length) return false;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
  /** @type {HTMLElement} */ (next.querySelector('a, button') ?? next).focus();
  return true;
}
