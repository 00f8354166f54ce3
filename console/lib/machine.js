// @ts-check
/** The machine's own streams over the last two minutes, by stamp, and the anomalies found in them. */
import { Store } from './store.js';
import { newest, spokenTopics } from './api.js';
import { stream } from './stream.js';
import { stampSeconds } from './ids.js';
import { indexAt } from './thin.js';
import * as shapes from './shapes.js';

/** @typedef {import('./api.js').Packet} Packet */
/** @typedef {{t: number, v: number}} Point */

export const WINDOW_S = 120;
const ANOMALIES_MAX = 100;
/** Two minutes of the fastest stream, five a second. */
const NEWEST = 600;

class Machine extends Store {
  /** @type {Map<string, Point[]>} by key of shapes.MACHINE */
  series = new Map(shapes.MACHINE.map((m) => [m.key, []]));
  /** @type {Map<string, Packet>} newest packet by topic */
  last = new Map();
  /** @type {{t: number, packet: Packet, stream: string, field: string, value: any, expected: any, sigma: any, raised: boolean, critical: boolean, lasted: any}[]} */
  anomalies = [];
  /** Whether the journal has been read once. */
  loaded = false;

  begin() {
    const undo = stream.listen('host.>', (packet) => {
      this.take(packet);
      this.changed();
    });
    stream.onResume(() => this.load());
    this.load();
    return undo;
  }

  async load() {
    const spoken = await spokenTopics();
    for (const topic of [...new Set(shapes.MACHINE.map((m) => m.topic)), 'host.anomaly']) {
      if (spoken && !spoken.get(topic)) continue;
      const packets = await newest(topic, NEWEST).catch(() => []);
      for (const packet of packets) this.take(packet);
      this.changed();
    }
    this.loaded = true;
    this.changed();
  }

  /** @param {Packet} packet */
  take(packet) {
    const t = stampSeconds(packet.stamp);
    if (packet.topic === 'host.anomaly') {
      if (this.anomalies.some((a) => a.packet.id === packet.id)) return;
      this.anomalies.push({ t, packet, ...shapes.anomaly(packet.payload) });
      this.anomalies.sort((a, b) => b.t - a.t);
      this.anomalies.length = Math.min(this.anomalies.length, ANOMALIES_MAX);
      return;
    }
    const newest = this.last.get(packet.topic);
    if (!newest || stampSeconds(newest.stamp) < t) this.last.set(packet.topic, packet);
    for (const m of shapes.MACHINE) {
      if (m.topic !== packet.topic) continue;
      const raw = m.of(packet.payload);
      const v = raw === undefined ? NaN : Number(raw);
      if (Number.isFinite(v)) this.insert(/** @type {Point[]} */ (this.series.get(m.key)), { t, v });
    }
  }

  /** @param {Point[]} list @param {Point} point */
  insert(list, point) {
    const at = indexAt(list, point.t, (p) => p.t);
    if (at >= 0 && list[at].t === point.t) return;
    list.splice(at + 1, 0, point);
    const oldest = /** @type {Point} */ (list.at(-1)).t - WINDOW_S;
    while (list[0].t < oldest) list.shift();
  }
}

export const machine = new Machine();
