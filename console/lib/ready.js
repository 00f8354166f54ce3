// @ts-check
/** Says on the page that a view has what it draws, so that pictures and tests need not guess. */
import { useEffect } from '../vendor/preact-hooks.js';

/** Marks the page while the calling view is there and has its data. @param {boolean} ready */
export function useReady(ready) {
  useEffect(() => {
    const main = /** @type {HTMLElement} */ (document.getElementById('main'));
    main.dataset.ready = String(ready);
    return () => { main.dataset.ready = 'false'; };
  }, [ready]);
}
