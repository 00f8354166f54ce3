// @ts-check
/** Workflow runs and agents' tasks: which there are, how each is, why one is blocked, and what happened to it. */
import { html, cls } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, State } from '../ui/basics.js';
import { useApi } from '../lib/api.js';
import { router, makeHash } from '../lib/router.js';
import { useReady } from '../lib/ready.js';
import { useStores } from '../lib/store.js';
import { stampSeconds } from '../lib/ids.js';
import { age, clock, count, NONE } from '../lib/format.js';
import { curl, quoted } from '../lib/commands.js';
import { STATUSES, brief, detail, kindOf, listPath, outcome, runPath, typeWords } from '../lib/workflows.js';

/** Runs and tasks asked for. */
const LISTED = 100;
/** Entries drawn: the newest of a history. */
const ENTRIES = 500;
const TASK = 'agent-task';

const since = (/** @type {string} */ stamp) => html`<span title=${clock(stamp)}>${age(Date.now() / 1000 - stampSeconds(stamp))}</span>`;

export function Workflows() {
  useStores(router);
  const { arg, params } = router.route;
  const status = params.status ?? '';
  const found = useApi(listPath(status, LISTED), 2000);
  useReady(found.data !== null || found.error !== null);
  const runs = found.data?.runs ?? [];
  return html`<h1 class="offscreen">Workflows</h1>
  <div class=${cls('with-aside workflows-page', arg && 'chosen')}>
    <div class="workflow-lists">
      <${Panel} title="Runs" csf=${`csf workflow ls${status && ` --status ${status}`}`} curl=${curl(listPath(status, LISTED))} flush
        extra=${found.data && html`<span class="panel-note">${found.data.total > runs.length ? html`newest ${count(runs.length)} of <b>${count(found.data.total)}</b>` : html`<b>${count(runs.length)}</b> ${runs.length === 1 ? 'run' : 'runs'}`}</span>`}>
        <div class="segments workflow-filter" role="group" aria-label="Status">
          ${['', ...STATUSES].map((one) => html`<button key=${one} type="button" class=${cls('segment', one === status && 'on')} aria-pressed=${one === status} onClick=${() => router.set({ status: one || null })}>${one || 'all'}</button>`)}
        </div>
        ${found.error && html`<${Failure} error=${found.error} />`}
        ${!found.data && !found.error && html`<${Empty}>Asking the node …</${Empty}>`}
        ${found.data && !runs.length && html`<${Empty}>${status ? `No run is ${status}.` : html`No run yet. <code>csf workflow start</code> starts one of: ${found.data.workflows.join(', ')}.`}</${Empty}>`}
        ${runs.length > 0 && html`<${Runs} runs=${runs} chosen=${arg} params=${params} />`}
      </${Panel}>
      <${Tasks} chosen=${arg} params=${params} />
    </div>
    ${arg ? html`<${Run} key=${arg} id=${arg} />` : html`<${Panel} title="Run"><${Empty}>Select a run: how it is, and what happened to it entry by entry.</${Empty}></${Panel}>`}
  </div>`;
}

/** @param {{runs: import('../lib/workflows.js').Run[], chosen: string, params: Record<string, string>}} props */
const Runs = ({ runs, chosen, params }) => html`<div class="scroll" tabindex="0" role="region" aria-label="Runs, scrollable"><table class="table hover">
  <thead><tr><th scope="col">Run</th><th scope="col">Status</th><th scope="col">Workflow</th><th scope="col" class="num">Started</th><th scope="col" class="wide-only">Comes to</th></tr></thead>
  <tbody>${runs.map((run) => html`<tr key=${run.id} data-row="" class=${cls(run.id === chosen && 'on')}>
    <th scope="row"><a class="topic" href=${makeHash('workflows', run.id, params)} aria-current=${run.id === chosen ? 'true' : undefined}>${run.id}</a>${run.run > 0 && html` <span class="tag">run ${run.run}</span>`}</th>
    <td><${State} kind=${kindOf(run.status)}>${run.status}</${State}></td><td>${run.workflow}</td><td class="num">${since(run.started_at)}</td>
    <td class="failure-cell wide-only" title=${outcome(run)}>${outcome(run)}</td></tr>`)}</tbody>
</table></div>`;

/** Nothing where no task was ever submitted. @param {{chosen: string, params: Record<string, string>}} props */
function Tasks({ chosen, params }) {
  const found = useApi(`/tasks?limit=${LISTED}`, 2000);
  const tasks = found.data?.tasks ?? [];
  if (!tasks.length) return null;
  const open = tasks.filter((/** @type {any} */ task) => !task.ended_at).length;
  return html`<${Panel} title="Tasks for agents" csf="csf task ls" curl=${curl(`/tasks?limit=${LISTED}`)} flush
    extra=${html`<span class="panel-note"><b>${count(open)}</b> of the newest ${count(tasks.length)} not done yet</span>`}>
    <div class="scroll" tabindex="0" role="region" aria-label="Tasks, scrollable"><table class="table hover">
      <thead><tr><th scope="col">Task</th><th scope="col">State</th><th scope="col">Kind</th><th scope="col">Agent</th><th scope="col" class="num">Attempt</th><th scope="col" class="wide-only">Progress</th></tr></thead>
      <tbody>${tasks.map((/** @type {any} */ task) => html`<tr key=${task.id} data-row="" class=${cls(task.id === chosen && 'on')}>
        <th scope="row"><a class="topic" href=${makeHash('workflows', task.id, params)}>${task.id}</a></th>
        <td><${State} kind=${kindOf(task.state)}>${task.state}</${State}></td><td>${task.kind}</td><td>${task.assigned_agent ?? NONE}</td>
        <td class="num">${task.attempts > 0 ? `${task.attempt} of ${task.attempts}` : task.attempt}</td>
        <td class="failure-cell wide-only">${task.result?.error ?? (task.progress === null ? task.last_failure : brief(task.progress)) ?? ''}</td></tr>`)}</tbody>
    </table></div>
  </${Panel}>`;
}

/** One run. @param {{id: string}} props */
function Run({ id }) {
  const run = useApi(runPath(id), 2000);
  const history = useApi(runPath(id, '/history'), 2000);
  const entries = history.data?.entries ?? [];
  const shown = entries.slice(-ENTRIES);
  const r = run.data;
  return html`<div class="workflow-run">
    <${Panel} title=${id} csf=${`csf workflow show ${quoted(id)}`} curl=${curl(runPath(id))}
      mark=${r && html`<${State} kind=${kindOf(r.status)}>${r.status}</${State}>`}>
      ${run.error && html`<${Failure} error=${run.error} />`}
      ${!r && !run.error && html`<${Empty}>Asking the node …</${Empty}>`}
      ${r && html`<p>${r.workflow === TASK ? 'A task for agents' : html`Workflow <b>${r.workflow}</b>`}${r.run > 0 ? `, run ${r.run} of this id` : ''}; started ${since(r.started_at)}${r.ended_at && html`, ended ${since(r.ended_at)}`}.</p>`}
      ${r?.status === 'blocked' && html`<div class="failure" role="alert"><p><strong>Blocked</strong> ${r.reason}</p><p class="muted"><code>csf workflow diff ${quoted(id)}</code> compares it with the code of the node, <code>csf workflow reset ${quoted(id)} --to ENTRY</code> lets it go on from earlier.</p></div>`}
      ${r?.status === 'failed' && html`<p class="muted">${outcome(r)}</p>`}
      ${r?.status === 'completed' && html`<pre class="mono wrap">${JSON.stringify(r.result, null, 2)}</pre>`}
    </${Panel}>
    <${Panel} title="History" csf=${`csf workflow history ${quoted(id)}`} curl=${curl(runPath(id, '/history'))} flush
      extra=${history.data && html`<span class="panel-note">${entries.length > ENTRIES ? `newest ${count(ENTRIES)} of ${count(entries.length)}` : count(entries.length)} ${entries.length === 1 ? 'entry' : 'entries'}</span>`}>
      ${history.error && !run.error && html`<${Failure} error=${history.error} />`}
      ${shown.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="History, scrollable"><table class="table">
        <thead><tr><th scope="col" class="num">Entry</th><th scope="col">Time</th><th scope="col">What</th><th scope="col">With</th></tr></thead>
        <tbody>${shown.map((/** @type {any} */ entry) => html`<tr key=${entry.version}>
          <td class="num">${entry.version}</td><td>${clock(entry.stamp)}</td><th scope="row">${typeWords(entry.type)}</th><td class="words-cell">${detail(entry)}</td></tr>`)}</tbody>
      </table></div>`}
    </${Panel}>
  </div>`;
}
