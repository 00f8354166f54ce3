// @ts-check
/** The address is the state: `#/view/argument?key=value`. */
import { Store } from './store.js';

export const VIEWS = /** @type {const} */ (['overview', 'graph', 'topics', 'why', 'supervision', 'workflows', 'node']);

/** @typedef {{view: string, arg: string, params: Record<string, string>}} Route */

/** @param {string} hash @returns {Route} */
export function parseHash(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [view, ...rest] = path.split('/');
  const known = /** @type {readonly string[]} */ (VIEWS).includes(view);
  return {
    view: known ? view : 'overview',
    arg: known ? decodeURIComponent(rest.join('/')) : '',
    params: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** @param {string} view @param {string} arg @param {Record<string, string | number | null | undefined>} params */
export function makeHash(view, arg = '', params = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '') query.set(key, String(value));
  }
  const tail = query.toString();
  return `#/${view}${arg ? `/${encodeURIComponent(arg)}` : ''}${tail ? `?${tail}` : ''}`;
}

class Router extends Store {
  /** @type {Route} */
  route = { view: 'overview', arg: '', params: {} };

  start() {
    const read = () => {
      this.route = parseHash(location.hash);
      this.tell();
    };
    addEventListener('hashchange', read);
    read();
  }

  /** A new place in the history. @param {string} view @param {string} arg @param {Record<string, any>} params */
  go(view, arg = '', params = {}) {
    location.hash = makeHash(view, arg, params);
  }

  /** The same place with other parameters; leaves no trace in the history. @param {Record<string, any>} params */
  set(params) {
    const { view, arg, params: old } = this.route;
    history.replaceState(null, '', makeHash(view, arg, { ...old, ...params }));
    this.route = parseHash(location.hash);
    this.tell();
  }
}

export const router = new Router();
