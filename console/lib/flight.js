// @ts-check
/**
 * The flight as the page knows it: what came live and what the journal had before.
 *
 * Time is `measured_at` in seconds from the recording's start, never wall time. Packets may come in any order and twice (backfill
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
/** How often a running flight's thinned states are filled up from the journal: their innovations would be missed otherwise. */
const FILL_MS = 2000;
const TOPICS = ['nav.state', 'nav.peer', 'nav.gnss', 'nav.score', 'nav.phase', 'nav.geofence'];

const timeOf = (/** @type {Sample} */ s) => s.t;

class Flight extends Store {
  /** @type {bigint | null} */
  base = null;
  /** @type {Record<string, Sample[]>} */
  lists = Object.fromEntries(TOPICS.map((t) => [t, []]));
  /** @type {Map<string, Sample[]>} NIS by the sensor it judges */
  nis = new Map();
  /** @type {shapes.Origin | null} of the fused state's frame; everything drawn is laid into it */
  origin = null;
  /** @type {number | null} the recording's start as the score counts it, in the lists' own seconds */
  zero = null;
  /** Stamp (s) before which packets belong to an older flight. */
  since = -Infinity;
  /** @type {'waiting' | 'loading' | 'ready' | 'empty' | 'absent'} absent: this node flies nothing */
  backfill = 'waiting';
  /** Position of the newest fused state read from the journal, and the timer of the next reading. */
  filled = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  filling;
  /** Whether the journal has been read once. */
  loaded = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  quiet;
  /** @type {number | null} seconds under the pointer */
  hover = null;
  /** @type {Packet | null} newest fused state */
  newest = null;

  get states() { return this.lists['nav.state']; }
  get start() { return this.zero ?? this.states[0]?.t ?? 0; }
  get end() { return this.states.at(-1)?.t ?? 0; }

  begin() {
    // The node refuses a subscription to a topic it does not have, so ask first; unanswered, `nav.*` is always allowed.
    let undo = () => {};
    spokenTopics().then((spoken) => {
      const topics = spoken ? TOPICS.filter((t) => spoken.has(t)) : ['nav.*'];
      if (topics.length) undo = this.listen(topics.join(','));
    });
    stream.onResume(() => this.load());
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

  /** Fetches what the thinned live stream left out: the states while it flies, everything once it falls silent. */
  settle() {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.load(), QUIET_MS);
    if (this.loaded) this.filling ??= setTimeout(() => this.fill(), FILL_MS);
  }

  async fill() {
    const packets = await history('nav.state', this.filled + 1, 4).catch(() => []);
    this.filling = undefined;
    for (const packet of packets) this.take(packet, false);
    this.filled = packets.at(-1)?.position ?? this.filled;
    this.changed();
  }

  /** Reads what was journaled before this page was opened. */
  async load() {
    this.backfill = 'loading';
    this.changed();
    const spoken = await spokenTopics();
    if (spoken && !spoken.has('nav.state')) {
      this.backfill = 'absent';
      this.loaded = true;
      return this.changed();
    }
    const last = spoken?.get('nav.state') ? await request(topicPath('nav.state', '/last')).catch(() => null) : null;
    const from = Math.max(0, (last?.position ?? 0) - LOOK_BACK);
    for (const topic of TOPICS) {
      if (spoken && !spoken.get(topic)) continue;
      const packets = await history(topic, from, 8).catch(() => []);
      this.takeHistory(topic, packets);
      if (topic === 'nav.state') this.filled = Math.max(this.filled, packets.at(-1)?.position ?? 0);
      this.changed();
    }
    this.backfill = this.states.length ? 'ready' : 'empty';
    this.loaded = true;
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
      this.judge(packet, stamp);
      if (!this.origin) this.anchor(shapes.origin(packet.payload));
    }
    const sample = { t, stamp, id: packet.id, ...this.fields(packet) };
    if (packet.topic === 'nav.peer') this.place(sample);
    if (packet.topic === 'nav.score' && typeof sample.elapsed === 'number') this.zero = t - sample.elapsed;
    this.insert(this.lists[packet.topic], sample);
  }

  /** The peer may have spoken before the fused state said where it is. @param {shapes.Origin | null} origin */
  anchor(origin) {
    if (!origin) return;
    this.origin = origin;
    for (const sample of this.lists['nav.peer']) this.place(sample);
  }

  /** Lays a sample of the peer, which counts from an origin of its own, into the frame of the fused state. @param {Sample} s */
  place(s) {
    const { local, from } = s;
    if (!this.origin || !from || local.north === null) return;
    const shift = localNorthEast(from.latitude, from.longitude, this.origin);
    s.north = local.north + shift.north;
    s.east = local.east + shift.east;
    s.height = local.height + from.altitude - this.origin.altitude;
  }

  /** @param {Packet} packet */
  fields(packet) {
    switch (packet.topic) {
      case 'nav.peer': {
        const e = shapes.estimate(packet.payload);
        const local = { north: e.north, east: e.east, height: e.height };
        return { ...e, north: null, east: null, height: null, local, from: shapes.origin(packet.payload), resets: shapes.headingResets(packet.payload) };
      }
      case 'nav.gnss': return shapes.fix(packet.payload);
      case 'nav.score': return shapes.score(packet.payload);
      case 'nav.phase': return shapes.phase(packet.payload);
      case 'nav.geofence': return shapes.geofence(packet.payload);
      default: return shapes.estimate(packet.payload);
    }
  }

  /** Keeps each innovation at the time of its measurement. @param {Packet} packet @param {number} stamp */
  judge(packet, stamp) {
    for (const i of shapes.innovations(packet.payload)) {
      let list = this.nis.get(i.source);
      if (!list) this.nis.set(i.source, (list = []));
      const t = secondsSince(BigInt(i.at), /** @type {bigint} */ (this.base));
      this.insert(list, { t, stamp, id: packet.id, nis: i.nis, degrees: i.degrees, accepted: i.accepted });
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
    this.origin = null;
    this.zero = null;
  }

  /** The newest sample of a topic at or before `t`. @param {string} topic @param {number | null} t */
  at(topic, t) {
    const list = this.lists[topic];
    return t === null ? list.at(-1) : list[Math.max(0, indexAt(list, t, timeOf))];
  }

  /** GNSS fixes in the frame of the fused state. */
  fixes() {
    const { origin } = this;
    if (!origin) return [];
    return this.lists['nav.gnss'].map((f) => ({ t: f.t, id: f.id, accuracy: f.accuracy, ...localNorthEast(f.latitude, f.longitude, origin) }));
  }

  /** What the flight is compared with. */
  reference() {
    return this.at('nav.score', null)?.reference ?? 'EKF2';
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

  /** From when on the peer is no reference any more, why, and the score that said so; or null. */
  invalid() {
    const score = this.lists['nav.score'].find((s) => !s.valid);
    if (!score) return null;
    const t = typeof score.validUntil === 'number' ? this.start + score.validUntil : score.t;
    const reset = this.lists['nav.peer'].some((p) => p.resets > 0);
    return { t, id: score.id, why: `${score.reference} ${reset ? 'resets its heading' : 'is no reference'}` };
  }

  /** @param {number | null} t */
  setHover(t) {
    if (t === this.hover) return;
    this.hover = t;
    this.tell();
  }
}

export const flight = new Flight();
