// @ts-check
/**
 * The node's public API, version 1 (docs/formats/http-api.md). Nothing else is used.
 *
 * `poll` shares one timer per path among all who look at it and stops with the last of them.
 */
import { useEffect } from '../vendor/preact-hooks.js';
import { Store, page, useStores } from './store.js';

/** @typedef {{id: string, topic: string, type?: string, author: string, stamp: string, cause?: string, priority?: string,
 *   position?: number, measured_at?: {clock: string, ns: string}, payload: any}} Packet */

export class ApiError extends Error {
  /** @param {number} status @param {{code?: string, message?: string, help?: string}} body */
  constructor(status, body) {
    super(body.message ?? `the node answered ${status}`);
    this.status = status;
    this.code = body.code ?? '';
    this.help = body.help ?? '';
  }
}

/** Whether the node wants a session that this browser does not have. */
class Session extends Store {
  denied = false;
}
export const session = new Session();

/** @param {string} path below /api/v1 @param {RequestInit} init @returns {Promise<any>} */
export async function request(path, init = {}) {
  if (session.denied) throw new ApiError(401, { message: 'this browser has no session' });
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { credentials: 'same-origin', ...init });
  } catch {
    throw new ApiError(0, { message: 'the node cannot be reached', help: 'is `csf up` still running?' });
  }
  if (response.status === 401 && !session.denied) {
    session.denied = true;
    session.tell();
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body.error ?? {});
  return body;
}

export const topicPath = (/** @type {string} */ topic, tail = '') => `/topics/${encodeURIComponent(topic)}${tail}`;

/** @param {string} topic @param {unknown} payload @param {boolean} durable */
export const publish = (topic, payload, durable) => request(topicPath(topic), {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ payload, durable }),
});

/**
 * A topic's packets from a position on, oldest first.
 * @param {string} topic @param {number} from @param {number} pages at most this many requests
 * @returns {Promise<Packet[]>}
 */
export async function history(topic, from, pages = 1) {
  const limit = 5000;
  /** @type {Packet[]} */
  const all = [];
  let position = from;
  for (let i = 0; i < pages; i += 1) {
    const answer = await request(topicPath(topic, `/history?from=${position}&limit=${limit}`));
    all.push(...answer.packets);
    if (answer.packets.length < limit || !(answer.next > position)) break;
    position = answer.next;
  }
  return all;
}

/** The newest packets of a topic, oldest first. @param {string} topic @param {number} limit @returns {Promise<Packet[]>} */
export const newest = async (topic, limit) => (await request(topicPath(topic, `/history?limit=${limit}`))).packets;

/** Packets so far by topic, so that nobody asks for what is not there; null when the node does not answer. */
export async function spokenTopics() {
  try {
    /** @type {{name: string, packets: number}[]} */
    const list = await request('/topics');
    return new Map(list.map((t) => [t.name, t.packets]));
  } catch {
    return null;
  }
}

/** One polled path. */
class Resource extends Store {
  /** @type {any} */
  data = null;
  /** @type {ApiError | null} */
  error = null;
  users = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  at = 0;

  /** @param {string} path @param {number} every_ms 0: once */
  constructor(path, every_ms) {
    super();
    this.path = path;
    this.every_ms = every_ms;
  }

  async load() {
    clearTimeout(this.timer);
    try {
      this.data = await request(this.path);
      this.error = null;
      this.at = performance.now();
    } catch (error) {
      this.error = /** @type {ApiError} */ (error);
    }
    this.changed();
    if (this.users > 0 && this.every_ms > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.load(), document.hidden || page.paused ? this.every_ms * 4 : this.every_ms);
    }
  }

  acquire() {
    this.users += 1;
    if (this.users === 1) this.load();
    return () => {
      this.users -= 1;
      if (this.users === 0) clearTimeout(this.timer);
    };
  }
}

/** @type {Map<string, Resource>} */
const resources = new Map();
const RESOURCES_MAX = 64;

/** @param {string} path @param {number} every_ms */
export function resource(path, every_ms = 0) {
  const key = `${path} ${every_ms}`;
  let found = resources.get(key);
  if (!found) {
    for (const [old, value] of resources) {
      if (resources.size < RESOURCES_MAX) break;
      if (value.users === 0) resources.delete(old);
    }
    found = new Resource(path, every_ms);
    resources.set(key, found);
  }
  return found;
}

/** The answer of a path, kept fresh while the component is on the page. @param {string} path @param {number} every_ms */
export function useApi(path, every_ms = 0) {
  const found = resource(path, every_ms);
  useEffect(() => found.acquire(), [found]);
  useStores(found);
  return found;
}

export const useNode = () => useApi('/node', 2000);
export const useTopics = () => useApi('/topics', 1000);
export const useComponents = () => useApi('/components', 2000);
export const useLatencies = () => useApi('/latencies', 2000);
