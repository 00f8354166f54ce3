// @ts-check
/** The guards around packets from outside and outgoing calls: what they let through, what they hold back, and why. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, State } from '../ui/basics.js';
import { useApi } from '../lib/api.js';
import { count, fixed, NONE } from '../lib/format.js';
import { curl } from '../lib/commands.js';
import { breakerWords, guardsOf, slotsWords } from '../lib/guards.js';

/** Nothing where no guard is configured. */
export function Guards() {
  const found = useApi('/resilience', 1000);
  const list = guardsOf(found.data);
  if (found.data && !list.length) return null;
  return html`<${Panel} title="Guards" csf="csf top --once" curl=${curl('/resilience')} flush
    extra=${list.length > 0 && html`<span class="panel-note">${count(list.length)} ${list.length === 1 ? 'guard' : 'guards'} since the start of the node</span>`}>
    ${found.error && html`<${Failure} error=${found.error} />`}
    ${!found.data && !found.error && html`<${Empty}>Asking the node …</${Empty}>`}
    ${list.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Guards, scrollable"><table class="table">
      <thead><tr><th scope="col">Guard</th><th scope="col">Around</th><th scope="col">Breaker</th><th scope="col" class="num">Calls</th><th scope="col" class="num">Failed</th><th scope="col" class="num">Refused</th><th scope="col" class="num">Retries</th><th scope="col" class="num">Timed out</th><th scope="col" class="num">Slots</th></tr></thead>
      <tbody>${list.map((g) => html`<tr key=${g.name}>
        <th scope="row">${g.name}</th><td>${g.around.join(', ') || NONE}</td>
        <td>${g.breaker ? html`<${State} kind=${breakerWords(g.breaker)[1]}>${breakerWords(g.breaker)[0]}</${State}>${g.breaker.failureRate !== null && html` <span class="muted">${fixed(g.breaker.failureRate * 100, 0)} % failed</span>`}` : NONE}</td>
        <td class="num">${count(g.calls)}</td><td class="num">${count(g.failed)}</td><td class="num">${count(g.refused)}</td><td class="num">${count(g.retries)}</td><td class="num">${count(g.timedOut)}</td><td class="num">${slotsWords(g.slots)}</td></tr>`)}</tbody>
    </table></div>`}
  </${Panel}>`;
}
