// @ts-check
/** The component graph, laid out by the node: pan, zoom, select; edges carry their live rate. */
import { html, useMemo } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Failure, Q, State, stateKind, TopicLink } from '../ui/basics.js';
import { useApi, useComponents, useTopics } from '../lib/api.js';
import { router, makeHash } from '../lib/router.js';
import { useReady } from '../lib/ready.js';
import { useStores } from '../lib/store.js';
import { count, duration, hertz, text } from '../lib/format.js';
import { curl } from '../lib/commands.js';
import { PanZoom } from '../ui/panzoom.js';
import { Drawing, roomy } from '../ui/graph-drawing.js';

export function Graph() {
  useStores(router);
  const graph = useApi('/graph', 0);
  const found = [useComponents().data, useTopics().data];
  const [components, topics] = found.map((f) => f ?? []);
  useReady(graph.data !== null && found.every((f) => f !== null));
  const selected = router.route.arg;
  const data = useMemo(() => graph.data && roomy(graph.data), [graph.data]);
  const rateOf = (/** @type {string} */ topic) => topics.find((/** @type {any} */ t) => t.name === topic)?.rate_hz ?? null;
  const choose = (/** @type {string} */ id) => router.go('graph', id === selected ? '' : id);
  const edges = (data?.edges ?? []).filter((/** @type {any} */ e) => !selected || [e.from, e.to, e.topic].includes(selected));
  return html`<h1 class="offscreen">Graph</h1>
  <div class="with-aside graph-page">
    <${Panel} title="Component graph" csf="csf graph" curl=${curl('/graph')} flush>
      ${graph.error && html`<${Failure} error=${graph.error} />`}
      ${data && html`<${PanZoom} width=${data.width} height=${data.height} label="Component graph">
        <${Drawing} data=${data} components=${components} rateOf=${rateOf} selected=${selected} choose=${choose} />
      </${PanZoom}>`}
    </${Panel}>
    <${Details} selected=${selected} components=${components} topics=${topics} />
    <${Panel} title="Connections" csf="csf status --json" curl=${curl('/graph')} flush
      extra=${html`<span class="panel-note">${count(data?.nodes.length)} nodes, ${count(edges.length)} connections${selected ? ` of ${selected}` : '; select one for details'}</span>`}><${Connections} edges=${edges} topics=${topics} /></${Panel}>
  </div>`;
}

/** @param {{selected: string, components: any[], topics: any[]}} props */
function Details({ selected, components, topics }) {
  const component = components.find((c) => c.name === selected);
  const topic = topics.find((t) => t.name === selected);
  if (!component && !topic) return null;
  if (topic) {
    return html`<${Panel} title=${topic.name} csf=${`csf tap ${topic.name}`} curl=${curl(`/topics/${topic.name}/last`)}>
      <p class="muted">${topic.doc}</p><dl class="facts"><dt>Type</dt><dd class="mono">${topic.type}</dd><dt>Rate</dt><dd><${Q} v=${hertz(topic.rate_hz)} /></dd><dt>Packets</dt><dd>${count(topic.packets)}</dd>
      <dt>Writers</dt><dd>${names(topic.writers)}</dd><dt>Readers</dt><dd>${names(topic.readers)}</dd></dl><p><a href=${makeHash('topics', topic.name)}>Open the topic</a></p></${Panel}>`;
  }
  return html`<${Panel} title=${component.name} csf="csf status" curl=${curl('/components')}>
    <p class="muted">${component.kind} of type <span class="mono">${component.type}</span>, pack ${component.pack}</p>
    <dl class="facts"><dt>State</dt><dd><${State} kind=${stateKind(component.state)}>${component.state}</${State}></dd>
    <dt>Rate</dt><dd><${Q} v=${hertz(component.rate_hz)} /></dd><dt>Handled</dt><dd>${count(component.handled)}</dd><dt>Published</dt><dd>${count(component.published)}</dd>
    <dt>Latency</dt><dd>p50 ${text(duration(component.latency_ns?.p50))}, p99 ${text(duration(component.latency_ns?.p99))}</dd>
    <dt>Restarts</dt><dd>${count(component.restarts)}, faults ${count(component.faults)}</dd><dt>Queue</dt><dd>${count(component.queue)}</dd>
    <dt>Reads</dt><dd>${topicLinks(component.reads)}</dd><dt>Writes</dt><dd>${topicLinks(component.writes)}</dd></dl></${Panel}>`;
}

/** Every arrow in words. @param {{edges: any[], topics: any[]}} props */
const Connections = ({ edges, topics }) => html`<div class="scroll" tabindex="0" role="region" aria-label="Connections, scrollable"><table class="table hover">
  <thead><tr><th scope="col">Topic</th><th scope="col">From</th><th scope="col">To</th><th scope="col" class="num">Rate</th><th scope="col" class="num wide-only">Packets</th></tr></thead>
  <tbody>${edges.map((e) => {
    const topic = topics.find((t) => t.name === e.topic);
    return html`<tr key=${`${e.topic} ${e.to}`}><th scope="row"><a class="topic" href=${makeHash('graph', e.topic)}>${e.topic}</a></th><td><a href=${makeHash('graph', e.from)}>${e.from}</a></td><td><a href=${makeHash('graph', e.to)}>${e.to}</a></td>
      <td class="num"><${Q} v=${hertz(topic?.rate_hz)} /></td><td class="num wide-only">${count(topic?.packets)}</td></tr>`;
  })}</tbody></table></div>`;

/** @param {string[]} list */
const names = (list) => (list?.length ? html`<ul class="plain">${list.map((n) => html`<li><a href=${makeHash('graph', n)}>${n}</a></li>`)}</ul>` : html`<span class="muted">none</span>`);
/** @param {string[]} list */
const topicLinks = (list) => (list?.length ? html`<ul class="plain">${list.map((n) => html`<li><${TopicLink} name=${n} /></li>`)}</ul>` : html`<span class="muted">none</span>`);
