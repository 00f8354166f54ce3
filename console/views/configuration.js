// @ts-check
/** The configuration in force: how often it changed since the start, how the last attempt ended, and all of it. */
import { html } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, State } from '../ui/basics.js';
import { useApi } from '../lib/api.js';
import { stampSeconds } from '../lib/ids.js';
import { age, clock, count, fixed } from '../lib/format.js';
import { curl } from '../lib/commands.js';

export function Configuration() {
  const found = useApi('/configuration', 2000);
  const c = found.data;
  return html`<${Panel} title="Configuration" csf="csf config reload --dry-run" curl=${curl('/configuration')}
    extra=${c && html`<span class="panel-note">${c.generation === 0 ? 'as at the start' : html`<b>${count(c.generation)}</b> ${c.generation === 1 ? 'change' : 'changes'} since the start`}</span>`}>
    ${found.error && html`<${Failure} error=${found.error} />`}
    ${!c && !found.error && html`<${Empty}>Asking the node …</${Empty}>`}
    ${c?.last && html`<${Last} last=${c.last} />`}
    ${c && html`<details><summary>All of it, as resolved</summary><pre class="mono wrap">${c.text}</pre></details>`}
  </${Panel}>`;
}

/** @param {{last: any}} props */
function Last({ last }) {
  const when = html`<span title=${clock(last.at)}>${age(Date.now() / 1000 - stampSeconds(last.at))}</span>`;
  if (last.refused) return html`<p><${State} kind="warn">refused</${State}> ${when}: ${last.refused}</p>`;
  const { steps, untouched } = last.report.plan;
  return html`<p><${State} kind="ok">changed</${State}> ${when} in ${fixed(last.report.ms, 0)} ms; ${count(untouched.length)} ${untouched.length === 1 ? 'part was' : 'parts were'} not touched</p>
    <ul class="checks">${steps.map((/** @type {any} */ s) => html`<li key=${`${s.kind} ${s.name}`}><span class="check-name">${s.kind} ${s.name}</span><span class="muted">${s.effect}</span></li>`)}</ul>`;
}
