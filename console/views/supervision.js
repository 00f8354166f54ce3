// @ts-check
/** Who supervises whom, how each is, what its budget has left, and why it was restarted. */
import { html, cls } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, State, stateKind } from '../ui/basics.js';
import { useApi } from '../lib/api.js';
import { router, makeHash } from '../lib/router.js';
import { useReady } from '../lib/ready.js';
import { useStores } from '../lib/store.js';
import { stampSeconds } from '../lib/ids.js';
import { age, clock, count } from '../lib/format.js';
import { curl } from '../lib/commands.js';
import { Guards } from './guards.js';
import { eventsOf, rows, spanWords, spent, strategyWords, wordOf } from '../lib/supervision.js';

export function Supervision() {
  useStores(router);
  const found = useApi('/supervision', 1000);
  useReady(found.data !== null);
  const path = router.route.arg;
  const list = found.data ? rows(found.data.root) : [];
  const chosen = list.find((row) => row.path === path) ?? null;
  const history = found.data?.history ?? [];
  const restarts = list.reduce((sum, row) => sum + (row.node.kind === 'supervisor' ? 0 : row.node.restarts), 0);
  return html`<h1 class="offscreen">Supervision</h1>
  <div class="supervision-page">
    <${Panel} title="Supervision tree" csf="csf top --once" curl=${curl('/supervision')} flush
      mark=${found.data && html`<${State} kind=${stateKind(found.data.root.state)}>${found.data.root.state}</${State}>`}
      extra=${found.data && html`<span class="panel-note"><b>${count(restarts)}</b> ${restarts === 1 ? 'restart' : 'restarts'}; select a part for its history</span>`}>
      ${found.error && html`<${Failure} error=${found.error} />`}
      ${!found.data && !found.error && html`<${Empty}>Asking the node …</${Empty}>`}
      ${list.length > 0 && html`<${Tree} list=${list} history=${history} chosen=${chosen} />`}
      ${found.data && list.every((row) => row.node.kind === 'supervisor') && html`<${Empty}>This node has neither services nor components.</${Empty}>`}
    </${Panel}>
    <${Guards} />
    <${History} history=${history} chosen=${chosen} unknown=${path !== '' && found.data && !chosen ? path : ''} asked=${found.data !== null} />
  </div>`;
}

/** @param {{list: import('../lib/supervision.js').Row[], history: any[], chosen: import('../lib/supervision.js').Row | null}} props */
const Tree = ({ list, history, chosen }) => html`<div class="scroll" tabindex="0" role="region" aria-label="Supervision tree, scrollable"><table class="table hover">
  <thead><tr><th scope="col">Part</th><th scope="col">State</th><th scope="col" class="num">Restarts</th><th scope="col">Budget used</th><th scope="col">Last failure</th></tr></thead>
  <tbody>${list.map((row) => html`<tr key=${row.path} data-row="" class=${cls(row === chosen && 'on', row.node.kind === 'supervisor' && 'supervisor-row')}>
    <th scope="row"><span class=${`tree-part depth-${Math.min(row.depth, 5)}`}>
      <a href=${makeHash('supervision', row === chosen ? '' : row.path)} aria-current=${row === chosen ? 'true' : undefined} aria-label=${`${row.node.name}, ${row.node.kind}, level ${row.depth + 1}`}>${row.node.name}</a>
      <span class="muted">${row.node.kind === 'supervisor' ? strategyWords(row.node.strategy) : row.node.kind}</span></span></th>
    <td><${State} kind=${stateKind(row.node.state)}>${row.node.state}</${State}></td>
    <td class="num">${row.node.kind === 'supervisor' && row.node.restarts === 0 ? '' : count(row.node.restarts)}</td>
    <td><${Budget} node=${row.node} history=${history} /></td>
    <td class="failure-cell" title=${row.node.last_failure}>${row.node.last_failure}</td></tr>`)}</tbody>
</table></div>`;

/** How much of a budget is used, as a figure and as a bar. @param {{node: any, history: any[]}} props */
function Budget({ node, history }) {
  const used = spent(node, history, Date.now() / 1000);
  if (used === null) return null;
  const { at_most, within_ms, stops_node } = node.budget;
  const kind = used >= at_most ? 'bad' : used > 0 ? 'warn' : 'ok';
  const says = stops_node ? 'when it is spent the node stops' : 'when it is spent this part stays down, the node goes on';
  return html`<span class="budget" title=${says}><span class="budget-track" aria-hidden="true"><span class=${`budget-bar budget-${kind}`} style=${{ width: `${at_most > 0 ? (used / at_most) * 100 : 0}%` }}></span></span>
    <span>${used} of ${at_most} in ${spanWords(within_ms)}${stops_node ? html` <span class="tag">stops the node</span>` : ''}</span></span>`;
}

const SHOWN = 100;

/** @param {{history: any[], chosen: import('../lib/supervision.js').Row | null, unknown: string, asked: boolean}} props */
function History({ history, chosen, unknown, asked }) {
  const events = eventsOf(history, chosen?.node ?? null);
  const shown = events.slice(0, SHOWN);
  const title = chosen ? `History of ${chosen.node.name}` : 'History';
  return html`<${Panel} title=${title} csf="csf top --once --json" curl=${curl('/supervision')} flush
    extra=${asked && html`<span class="panel-note">${events.length > SHOWN ? `newest ${SHOWN} of ${count(events.length)}` : `${count(events.length)} ${events.length === 1 ? 'event' : 'events'}`}, newest first</span>`}>
    ${unknown && html`<${Empty}>There is no part <code>${unknown}</code> in the tree; this is everybody's history.</${Empty}>`}
    ${asked && !shown.length && html`<${Empty}>Nothing was started or restarted yet${chosen ? ' here' : ''}.</${Empty}>`}
    ${shown.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="History, scrollable"><table class="table">
      <thead><tr><th scope="col">Time</th><th scope="col">Part</th><th scope="col">What</th><th scope="col">Why</th></tr></thead>
      <tbody>${shown.map((e, i) => html`<tr key=${`${e.at} ${i}`}>
        <td title=${age(Date.now() / 1000 - stampSeconds(e.at))}>${clock(e.at)}</td><th scope="row" title=${`below ${e.supervisor}`}>${e.child}</th>
        <td><${State} kind=${wordOf(e.what)[1]}>${wordOf(e.what)[0]}</${State}></td><td class="words-cell">${e.detail}</td></tr>`)}</tbody>
    </table></div>`}
  </${Panel}>`;
}
