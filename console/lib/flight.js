// @ts-check
/**
 * The flight as the page knows it: what came live and what the journal had before.
 *
 * Time is `measured_at` in seconds from the first fused state, never wall time. Packets may come in any order and twice (backfill
 * beside live); each list stays sorted by time and holds a time once. When the source starts over, the older flight is forgotten.
 */
import { Store } from './store.js';
import { history, request, spokenTopics, topicPath } from './api.js';
import { stream } from './stream.js';
import { parseStamp, secondsSince, stampSeconds } from './ids.js';
import { indexAt } from './thin.js';
import { localNorthEast } from './quat.js';
import * as shapes from './shapes.js';

/** @typedef {import('./api.js').Packet} Packet */
/** @typedef {{t: number, stamp: number, id: string, [field: string]: any}} Sample */

/** Beyond this a list drops every second sample: an hour at 197 Hz still draws, more coarsely. */
const SAMPLES_MAX = 24_000;
/** A jump back by more than this is another flight, less is a sensor that reported late. */
const RESTART_S = 2;
/** Positions looked at before the newest fused state: a flight of about two minutes with all its sensors. */
const LOOK_BACK = 120_000;
const QUIET_MS = 3000;
const TOPICS = ['nav.state', 'nav.peer', 'nav.gnss', 'nav.score', 'nav.phase', 'nav.geofence'];

const timeOf = (/** @type {Sample} */ s) => s.t;

class Flight extends Store {
  /** @type {bigint | null} */
  base = null;
  /** @type {Record<string, Sample[]>} */
  lists = Object.fromEntries(TOPICS.map((t) => [t, []]));
  /** @type {Map<string, Sample[]>} NIS by the sensor it judges */
  nis = new Map();
  /** @type {{latitude: number, longitude: number, altitude: number} | null} */
  origin = null;
  originExact = false;
  /** Stamp (s) before which packets belong to an older flight. */
  since = -Infinity;
  /** @type {'waiting' | 'loading' | 'ready' | 'empty' | 'absent'} absent: this node flies nothing */
  backfill = 'waiting';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  quiet;
  /** @type {number | null} seconds under the pointer */
  hover = null;
  /** @type {Packet | null} newest fused state */
  newest = null;

  get states() { return this.lists['nav.state']; }
  get start() { return this.states[0]?.t ?? 0; }
  get end() { return this.states.at(-1)?.t ?? 0; }

  begin() {
    // The node refuses a subscription to a topic it does not have, so ask first; unanswered, `nav.*` is always allowed.
    let undo = () => {};
    spokenTopics().then((spoken) => {
      const topics = spoken ? TOPICS.filter((t) => spoken.has(t)) : ['nav.*'];
      if (topics.length) undo = this.listen(topics.join(','));
    });
    this.load();
    return () => undo();
  }

  /** @param {string} globs */
  listen(globs) {
    return stream.listen(globs, (packet) => {
      if (!(packet.topic in this.lists)) return;
      this.take(packet, true);
      if (packet.topic === 'nav.state' && this.states.length > 1) this.settle();
      this.changed();
    });
  }

  /** Once the flight falls silent, fetches what the thinned live stream left out. */
  settle() {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.load(), QUIET_MS);
  }

  /** Reads what was journaled before this page was opened. */
  async load() {
    this.backfill = 'loading';
    this.changed();
    const spoken = await spokenTopics();
    if (spoken && !spoken.has('nav.state')) {
      this.backfill = 'absent';
      return this.changed();
    }
    const last = spoken?.get('nav.state') ? await request(topicPath('nav.state', '/last')).catch(() => null) : null;
    const from = Math.max(0, (last?.position ?? 0) - LOOK_BACK);
    for (const topic of TOPICS) {
      if (spoken && !spoken.get(topic)) continue;
      const packets = await history(topic, from, 8).catch(() => []);
      this.takeHistory(topic, packets);
      this.changed();
    }
    this.backfill = this.states.length ? 'ready' : 'empty';
    this.changed();
  }

  /** @param {string} topic @param {Packet[]} packets oldest first */
  takeHistory(topic, packets) {
    let first = 0;
    if (topic === 'nav.state') {
      let newest = -1n;
      packets.forEach((packet, i) => {
        const at = shapes.measuredAt(packet) ?? 0n;
        if (newest >= 0n && secondsSince(at, newest) < -RESTART_S) {
          first = i;
          newest = at;
        } else if (at > newest) newest = at;
      });
      if (first > 0) this.since = stampSeconds(packets[first].stamp) - 1;
    }
    for (const packet of packets.slice(first)) this.take(packet, false);
  }

  /** @param {Packet} packet @param {boolean} live */
  take(packet, live) {
    const ns = shapes.measuredAt(packet) ?? parseStamp(packet.stamp);
    const stamp = stampSeconds(packet.stamp);
    if (ns === null || stamp < this.since) return;
    this.base ??= ns;
    const t = secondsSince(ns, this.base);
    if (packet.topic === 'nav.state') {
      const last = this.states.at(-1);
      if (live && last && t < last.t - RESTART_S && stamp > last.stamp) this.forget(stamp - 0.2);
      if (!this.newest || stamp >= stampSeconds(this.newest.stamp)) this.newest = packet;
      this.judge(packet, t, stamp);
      if (!this.originExact) {
        const exact = shapes.origin(packet.payload);
        if (exact) {
          [this.origin, this.originExact] = [exact, true];
          this.lists['nav.peer'].forEach((sample) => this.shift(sample));
        }
      }
    }
    const sample = { t, stamp, id: packet.id, ...this.fields(packet) };
    if (packet.topic === 'nav.peer') this.shift(sample);
    this.insert(this.lists[packet.topic], sample);
  }

  /** Moves a peer's position from its own origin to ours, once, as soon as ours is known. @param {Sample} sample */
  shift(sample) {
    if (!this.originExact || !this.origin || !sample.origin || sample.north === null) return;
    const offset = localNorthEast(sample.origin.latitude, sample.origin.longitude, this.origin);
    sample.north += offset.north;
    sample.east += offset.east;
    sample.height += sample.origin.altitude - this.origin.altitude;
    sample.origin = null;
  }

  /** @param {Packet} packet */
  fields(packet) {
    switch (packet.topic) {
      case 'nav.gnss': return shapes.fix(packet.payload);
      case 'nav.score': return shapes.score(packet.payload);
      case 'nav.phase': return shapes.phase(packet.payload);
      case 'nav.geofence': return shapes.geofence(packet.payload);
      case 'nav.peer': return { ...shapes.estimate(packet.payload), origin: shapes.origin(packet.payload) };
      default: return shapes.estimate(packet.payload);
    }
  }

  /** Keeps each innovation once: a fused state repeats the last one until the next fix. @param {Packet} packet @param {number} t @param {number} stamp */
  judge(packet, t, stamp) {
    for (const i of shapes.innovations(packet.payload)) {
      let list = this.nis.get(i.source);
      if (!list) this.nis.set(i.source, (list = []));
      const at = i.at === null || this.base === null ? t : secondsSince(BigInt(i.at), this.base);
      const before = list[indexAt(list, at, timeOf)];
      if (before && (before.t === at || (i.at === null && before.nis === i.nis))) continue;
      this.insert(list, { t: at, stamp, id: packet.id, nis: i.nis, degrees: i.degrees });
    }
  }

  /** @param {Sample[]} list @param {Sample} sample */
  insert(list, sample) {
    const last = list.at(-1);
    if (!last || sample.t > last.t) list.push(sample);
    else {
      const at = indexAt(list, sample.t, timeOf);
      if (at >= 0 && list[at].t === sample.t) return;
      list.splice(at + 1, 0, sample);
    }
    if (list.length > SAMPLES_MAX) list.splice(0, list.length, ...list.filter((_, i) => i % 2 === 0));
  }

  /** @param {number} since stamp in seconds */
  forget(since) {
    this.since = since;
    for (const list of [...Object.values(this.lists), ...this.nis.values()]) {
      const keep = list.filter((s) => s.stamp >= since);
      list.splice(0, list.length, ...keep);
    }
    this.newest = null;
  }

  /** The newest sample of a topic at or before `t`. @param {string} topic @param {number | null} t */
  at(topic, t) {
    const list = this.lists[topic];
    return t === null ? list.at(-1) : list[Math.max(0, indexAt(list, t, timeOf))];
  }

  /** GNSS fixes in the frame of the fused state; without a stated origin the first fix is laid on the track. */
  fixes() {
    const fixes = this.lists['nav.gnss'];
    if (!this.origin && fixes.length && this.states.length) {
      this.origin = { latitude: fixes[0].latitude, longitude: fixes[0].longitude, altitude: fixes[0].altitude };
    }
    if (!this.origin) return [];
    const origin = this.origin;
    const shift = this.originExact ? { north: 0, east: 0 } : this.at('nav.state', fixes[0]?.t ?? 0) ?? { north: 0, east: 0 };
    return fixes.map((f) => {
      const p = localNorthEast(f.latitude, f.longitude, origin);
      return { t: f.t, north: p.north + (shift.north ?? 0), east: p.east + (shift.east ?? 0), accuracy: f.accuracy, id: f.id };
    });
  }

  /** Spans in the air, in seconds of the flight axis. */
  airborne() {
    /** @type {[number, number][]} */
    const spans = [];
    for (const p of this.lists['nav.phase']) {
      const open = spans.at(-1);
      if (p.airborne && (!open || Number.isFinite(open[1]))) spans.push([p.t, Infinity]);
      else if (!p.airborne && open && !Number.isFinite(open[1])) open[1] = p.t;
    }
    return spans;
  }

  /** What the estimate is compared with: a peer or the truth. */
  get reference() { return this.lists['nav.score'].at(-1)?.reference ?? 'peer'; }

  /** From when on the peer is no reference any more, or null. */
  invalidFrom() {
    return this.lists['nav.score'].find((s) => !s.valid)?.t ?? null;
  }

  /** @param {number | null} t */
  setHover(t) {
    if (t === this.hover) return;
    this.hover = t;
    this.tell();
  }
}

export const flight = new Flight();
