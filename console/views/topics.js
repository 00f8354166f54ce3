// @ts-check
/** All topics in a table; the selected one in depth beside it. */
import { html, cls } from '../ui/html.js';
import { Panel } from '../ui/panel.js';
import { Empty, Failure, Icon, Q } from '../ui/basics.js';
import { TopicDetail } from './topic-detail.js';
import { useTopics } from '../lib/api.js';
import { filter } from '../lib/glob.js';
import { router, makeHash } from '../lib/router.js';
import { useReady } from '../lib/ready.js';
import { useStores } from '../lib/store.js';
import { stampSeconds } from '../lib/ids.js';
import { age, clock, count, hertz, NONE } from '../lib/format.js';
import { curl } from '../lib/commands.js';

/** @type {{key: string, label: string, num?: boolean, of: (t: any) => any, draw: (t: any) => any, name?: string}[]} */
const COLUMNS = [
  { key: 'name', label: 'Topic', of: (t) => t.name, draw: (t) => t.name },
  { key: 'rate', label: 'Rate', num: true, of: (t) => -t.rate_hz, draw: (t) => html`<${Q} v=${hertz(t.rate_hz)} />` },
  { key: 'packets', label: 'Packets', num: true, of: (t) => -t.packets, draw: (t) => count(t.packets) },
  { key: 'last', label: 'Last', num: true, of: (t) => -stampSeconds(t.last_stamp), draw: (t) => (t.last_stamp ? html`<span title=${clock(t.last_stamp)}>${age(Date.now() / 1000 - stampSeconds(t.last_stamp))}</span>` : NONE) },
  { key: 'type', label: 'Type', name: 'wide-only mono', of: (t) => t.type, draw: (t) => t.type },
  { key: 'writers', label: 'Writers', name: 'wider-only', of: (t) => t.writers?.join(), draw: (t) => t.writers?.join(', ') || NONE },
  { key: 'readers', label: 'Readers', name: 'wider-only', of: (t) => t.readers?.join(), draw: (t) => t.readers?.join(', ') || NONE },
];

/** @param {any} a @param {any} b */
const compare = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a ?? '').localeCompare(String(b ?? '')));

export function Topics() {
  useStores(router);
  const found = useTopics();
  const { arg, params } = router.route;
  useReady(found.data !== null);
  const query = params.filter ?? '';
  const sort = params.sort ?? 'name';
  const back = sort.startsWith('-');
  const all = found.data ?? [];
  const column = COLUMNS.find((c) => c.key === sort.replace('-', '')) ?? COLUMNS[0];
  const match = filter(query);
  const topics = all.filter((/** @type {any} */ t) => match(t.name, t.type, t.writers?.join(' '), t.readers?.join(' ')))
    .sort((/** @type {any} */ a, /** @type {any} */ b) => (back ? -1 : 1) * compare(column.of(a), column.of(b)));
  const sortBy = (/** @type {string} */ key) => router.set({ sort: sort === key ? `-${key}` : key });
  return html`<h1 class="offscreen">Topics</h1>
  <div class=${cls('with-aside topics-page', arg && 'chosen')}>
    <${Panel} title="Topics" csf="csf status --json" curl=${curl('/topics')} flush
      extra=${html`<input class="field filter" type="search" data-filter="" placeholder="Filter: words or nav.*" aria-label="Filter topics" value=${query} onInput=${(/** @type {any} */ e) => router.set({ filter: e.target.value })} />`}>
      ${found.error && html`<${Failure} error=${found.error} />`}
      <div class="scroll" tabindex="0" role="region" aria-label="Topics, scrollable"><table class="table hover">
        <thead><tr>${COLUMNS.map((c) => html`<th scope="col" class=${cls(c.num && 'num', c.name)} aria-sort=${column === c ? (back ? 'descending' : 'ascending') : undefined}>
          <button type="button" class="sort" onClick=${() => sortBy(c.key)}>${c.label}${column === c && html`<${Icon} name=${back ? 'up' : 'down'} />`}</button></th>`)}</tr></thead>
        <tbody>${topics.map((/** @type {any} */ t) => html`<tr key=${t.name} data-row="" class=${cls(t.name === arg && 'on')} onClick=${() => router.go('topics', t.name, params)}>
          ${COLUMNS.map((c) => (c.key === 'name'
    ? html`<th scope="row"><a class="topic" href=${makeHash('topics', t.name, params)} title=${t.doc}>${t.name}</a></th>`
    : html`<td class=${cls(c.num && 'num', c.name)}>${c.draw(t)}</td>`))}</tr>`)}</tbody>
      </table></div>
      ${found.data && !topics.length && html`<${Empty}>No topic matches <code>${query}</code>.</${Empty}>`}
    </${Panel}>
    ${arg && found.data && !all.some((/** @type {any} */ t) => t.name === arg) ? html`<${Panel} title="Topic"><${Empty}>There is no topic <code>${arg}</code> on this node.</${Empty}></${Panel}>` : arg && found.data ? html`<${TopicDetail} key=${arg} topic=${arg} summary=${all.find((/** @type {any} */ t) => t.name === arg)} />` : html`<${Panel} title="Topic"><${Empty}>Select a topic: its last packet, live tail, schema, and a form to publish.</${Empty}></${Panel}>`}
  </div>`;
}
