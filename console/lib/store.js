// @ts-check
/**
 * Observable state and its one heartbeat.
 *
 * Data arrives at hundreds of packets a second; the page is drawn at most ten times a second. A store only marks itself changed;
 * the heartbeat tells the subscribers. While the page is paused data still arrives, but nobody is told.
 */
import { useLayoutEffect, useReducer } from '../vendor/preact-hooks.js';

const BEAT_MS = 100;

/** @type {Set<Store>} */
const dirty = new Set();
let scheduled = false;

export class Store {
  constructor() {
    /** @type {Set<() => void>} */
    this.subscribers = new Set();
  }

  /** Marks the store changed; its subscribers hear of it at the next beat. */
  changed() {
    dirty.add(this);
    if (scheduled || page.paused) return;
    scheduled = true;
    setTimeout(beat, BEAT_MS);
  }

  /** @param {() => void} callback */
  subscribe(callback) {
    this.subscribers.add(callback);
    return () => { this.subscribers.delete(callback); };
  }

  /** Tells the subscribers at once, paused or not. */
  tell() {
    for (const callback of [...this.subscribers]) callback();
  }
}

function beat() {
  scheduled = false;
  if (page.paused) return;
  const now = [...dirty];
  dirty.clear();
  for (const store of now) store.tell();
}

/** State of the page itself: paused, toast, open dialog. */
class Page extends Store {
  paused = false;
  /** @type {{text: string, kind: 'ok' | 'bad'} | null} */
  toast = null;
  /** @type {'go' | 'help' | null} */
  dialog = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;

  togglePause() {
    this.paused = !this.paused;
    this.tell();
    if (!this.paused) beat();
  }

  /** @param {'go' | 'help' | null} dialog */
  open(dialog) {
    this.dialog = dialog;
    this.tell();
  }

  /** @param {string} text @param {'ok' | 'bad'} kind */
  say(text, kind = 'ok') {
    this.toast = { text, kind };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.toast = null; this.tell(); }, 3500);
    this.tell();
  }
}

export const page = new Page();

/** Draws the calling component again whenever one of the stores changed. @param {...Store} stores */
export function useStores(...stores) {
  const [, again] = useReducer((/** @type {number} */ n) => n + 1, 0);
  // Before the first paint: an answer may be here sooner than that.
  useLayoutEffect(() => {
    const undo = stores.map((store) => store.subscribe(() => again(0)));
    return () => undo.forEach((f) => f());
  }, stores);
}
