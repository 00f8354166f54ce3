// @ts-check
/** Dark and light from one set of CSS variables; the system decides until the person does. */
import { Store } from './store.js';

class Theme extends Store {
  name = 'dark';
  /** @type {Map<string, string>} */
  cache = new Map();

  start() {
    const system = matchMedia('(prefers-color-scheme: dark)');
    const apply = () => {
      const chosen = this.chosen();
      this.name = chosen ?? (system.matches ? 'dark' : 'light');
      document.documentElement.dataset.theme = this.name;
      this.cache.clear();
      this.tell();
    };
    system.addEventListener('change', apply);
    this.apply = apply;
    apply();
  }

  apply() {}

  /** @returns {string | null} */
  chosen() {
    try {
      return localStorage.getItem('csf.theme');
    } catch {
      return null; // storage may be forbidden; then the system decides
    }
  }

  toggle() {
    try {
      localStorage.setItem('csf.theme', this.name === 'dark' ? 'light' : 'dark');
    } catch { /* the choice lasts as long as it can */ }
    this.apply();
  }

  /** The value of a CSS variable. @param {string} name */
  value(name) {
    let found = this.cache.get(name);
    if (found === undefined) {
      found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      this.cache.set(name, found);
    }
    return found;
  }

  /** @param {string} name */
  color(name) {
    return this.value(name);
  }
}

export const theme = new Theme();
