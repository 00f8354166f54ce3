// @ts-check
/**
 * The page's one live connection: server-sent events with the last value first.
 *
 * When a view wants another topic, a second connection opens and the first closes once the new one speaks, so that nothing is lost
 * in between; what both bring is told apart by id. The browser itself reconnects with `Last-Event-ID`.
 */
import { Store } from './store.js';
import { session } from './api.js';
import { matcher } from './glob.js';
import { stampSeconds } from './ids.js';

/** @typedef {import('./api.js').Packet} Packet */

const MAX_HZ = 20;
/** Host streams speak five times a second, so a node that is silent for this long is no longer live. */
export const STALE_AFTER_S = 6;

class Stream extends Store {
  /** @type {'connecting' | 'open' | 'broken'} */
  link = 'connecting';
  received = 0;
  lastAt = -Infinity;
  /** @type {Map<string, {at: number, stamp: string, id: string}>} last arrival by topic */
  topics = new Map();
  /** @type {Map<number, {globs: string, handle: (p: Packet) => void, match: (t: string) => boolean}>} */
  listeners = new Map();
  /** @type {EventSource | null} */
  source = null;
  wanted = '';
  /** @type {(() => void)[]} */
  resumed = [];
  lost = false;
  serial = 0;

  /**
   * Sends every packet of the matching topics to `handle` until the returned function is called.
   * @param {string} globs @param {(p: Packet) => void} handle
   */
  listen(globs, handle) {
    const key = (this.serial += 1);
    this.listeners.set(key, { globs, handle, match: matcher(globs) });
    queueMicrotask(() => this.connect());
    return () => {
      this.listeners.delete(key);
      queueMicrotask(() => this.connect());
    };
  }

  /** Called when the connection is back: what was missed came thinned. @param {() => void} callback */
  onResume(callback) {
    this.resumed.push(callback);
  }

  connect() {
    const globs = [...new Set([...this.listeners.values()].flatMap((l) => l.globs.split(',')))].sort().join(',');
    if (globs === this.wanted || !globs) return;
    this.wanted = globs;
    const old = this.source;
    const source = new EventSource(`/api/v1/subscribe?topics=${encodeURIComponent(globs)}&max_hz=${MAX_HZ}`);
    this.source = source;
    source.onopen = () => {
      old?.close();
      this.link = 'open';
      if (this.lost) for (const callback of this.resumed) callback();
      this.lost = false;
      this.changed();
    };
    source.onerror = () => {
      old?.close();
      this.lost = true;
      this.link = source.readyState === EventSource.CLOSED ? 'broken' : 'connecting';
      if (this.link === 'broken') setTimeout(() => this.again(source), 3000);
      this.tell();
    };
    source.addEventListener('packet', (event) => this.take(/** @type {MessageEvent} */ (event)));
  }

  /** @param {EventSource} source the one that gave up */
  again(source) {
    if (source !== this.source || session.denied) return;
    this.wanted = '';
    this.connect();
  }

  /** @param {MessageEvent} event */
  take(event) {
    /** @type {Packet} */
    const packet = JSON.parse(event.data);
    const seen = this.topics.get(packet.topic);
    if (seen?.id === packet.id) return;
    this.lastAt = performance.now();
    this.received += 1;
    // The first packet of a topic is its last value, which may be old.
    const age_ms = seen ? 0 : Math.max(0, Date.now() - stampSeconds(packet.stamp) * 1000);
    this.topics.set(packet.topic, { at: this.lastAt - age_ms, stamp: packet.stamp, id: packet.id });
    for (const listener of this.listeners.values()) if (listener.match(packet.topic)) listener.handle(packet);
    this.changed();
  }

  /** Seconds since anything arrived. */
  silence() {
    return (performance.now() - this.lastAt) / 1000;
  }

  /** @returns {'live' | 'stale' | 'connecting' | 'broken'} */
  health() {
    if (this.link !== 'open') return this.link === 'broken' ? 'broken' : 'connecting';
    return this.silence() > STALE_AFTER_S ? 'stale' : 'live';
  }
}

export const stream = new Stream();
