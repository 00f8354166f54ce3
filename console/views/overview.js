// @ts-check
/** The overview: the flight, what it cost, and the machine it runs on, on one screen. */
import { html, useEffect } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Track } from '../ui/track.js';
import { FlightStrips } from './flight-strips.js';
import { Attitude } from './attitude.js';
import { MachinePanel } from './machine-panel.js';
import { Streams, Latencies, Anomalies } from './streams-panel.js';
import { Summary } from './summary.js';
import { flight } from '../lib/flight.js';
import { machine } from '../lib/machine.js';
import { useTopics } from '../lib/api.js';
import { useReady } from '../lib/ready.js';
import { router } from '../lib/router.js';
import { useStores } from '../lib/store.js';
import { curlSubscribe } from '../lib/commands.js';

/** The moment looked at, in the lists' own seconds: under the pointer, else pinned in the address, else null for now. */
export function cursorTime() {
  if (flight.hover !== null) return flight.hover + flight.start;
  const pinned = Number(router.route.params.t);
  return router.route.params.t && Number.isFinite(pinned) ? pinned + flight.start : null;
}

/** Changes whenever a list did. */
const version = () => `${flight.start}:${Object.values(flight.lists).map((l) => `${l.length}@${l.at(-1)?.t}`).join()}`;

export function Overview() {
  useStores(flight, router);
  useCursorKeys();
  const spoken = useTopics().data;
  useReady(flight.loaded && machine.loaded && spoken !== null);
  const cursor = cursorTime();
  return html`
    <h1 class="offscreen">Overview</h1>
    <${Summary} />
    ${flight.backfill === 'absent' ? '' : html`<div class="flight-grid">
      <div class="flight-side">
        <${Panel} title="Ground track" topics=${['nav.state']} csf="csf tap nav.state --json" curl=${curlSubscribe('nav.state')} flush>
          <${Legend} /><${Track} cursor=${cursor} version=${version()} />
        </${Panel}>
        <${Attitude} cursor=${cursor} />
      </div>
      <${FlightStrips} cursor=${cursor} version=${version()} />
    </div>`}
    <${MachinePanel} />
    <div class="lower-grid">
      <${Streams} />
      <div class="stack"><${Latencies} /><${Anomalies} /></div>
    </div>`;
}

const Legend = () => html`<span class="legend"><span class="swatch fused"></span>fused<span class="swatch peer"></span>${flight.reference()}<span class="swatch gnss"></span>GNSS</span>`;

function useCursorKeys() {
  useEffect(() => {
    const key = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
      if (/** @type {HTMLElement} */ (event.target).matches('input, textarea, select')) return;
      const step = (event.key === 'ArrowLeft' ? -1 : 1) * (event.shiftKey ? 1 : 0.1);
      const now = router.route.params.t ? Number(router.route.params.t) : flight.end - flight.start;
      router.set({ t: Math.max(0, Math.min(flight.end - flight.start, now + step)).toFixed(2) });
      event.preventDefault();
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  }, []);
}
