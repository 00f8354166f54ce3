// @ts-check
/** A form made from the topic's schema; what it would send is always visible, and can be sent from a shell as well. */
import { html, useState } from '../ui/html.js';
import { CopyButtons, Empty, Failure, PacketLink } from '../ui/basics.js';
import { publish, topicPath, useApi } from '../lib/api.js';
import { curl, quoted } from '../lib/commands.js';
import { count } from '../lib/format.js';
import { constants, prose, typeName } from './topic-detail.js';

/** Follows a local reference. @param {any} schema @param {any} root @returns {any} */
function resolved(schema, root) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.replace(/^#\//, '').split('/').reduce((/** @type {any} */ o, /** @type {string} */ k) => o?.[k], root) ?? {};
}

/** A value of the right kind to start from. @param {any} raw @param {any} root @returns {any} */
export function example(raw, root, depth = 0) {
  const s = resolved(raw, root);
  if (s.default !== undefined) return s.default;
  if (s.const !== undefined) return s.const;
  if (s.enum) return s.enum[0];
  const alternative = (s.anyOf ?? s.oneOf)?.[0];
  if (alternative && depth < 6) return example(alternative, root, depth + 1);
  const type = Array.isArray(s.type) ? s.type[0] : s.type;
  if (type === 'number' || type === 'integer') return s.minimum ?? 0;
  if (type === 'string') return '';
  if (type === 'boolean') return false;
  if (type === 'array') return Array.from({ length: s.minItems ?? 0 }, () => example(s.items ?? {}, root, depth + 1));
  if (type === 'object' || s.properties) return depth > 6 ? {} : Object.fromEntries(Object.entries(s.properties ?? {}).map(([k, v]) => [k, example(v, root, depth + 1)]));
  return null;
}

/** @param {{topic: string, spoken: boolean}} props spoken: whether there is a last packet to start from */
export const PublishForm = ({ topic, spoken }) => (spoken ? html`<${FromLast} topic=${topic} />` : html`<${FromSchema} topic=${topic} />`);

/** @param {{topic: string}} props */
function FromLast({ topic }) {
  const last = useApi(topicPath(topic, '/last'), 0);
  if (!last.data && !last.error) return html`<${Empty}>Reading the last packet …</${Empty}>`;
  return html`<${FromSchema} topic=${topic} start=${last.data?.payload} />`;
}

/** @param {{topic: string, start?: any}} props */
function FromSchema({ topic, start }) {
  const found = useApi(topicPath(topic, '/schema'), 0);
  if (found.error) return html`<${Failure} error=${found.error} />`;
  if (!found.data) return html`<${Empty}>Reading the schema …</${Empty}>`;
  return html`<${Form} topic=${topic} schema=${found.data} start=${start} />`;
}

/** @param {{topic: string, schema: any, start: any}} props start: the last payload, which is a better example than any made up */
function Form({ topic, schema, start }) {
  const [payload, setPayload] = useState(() => start ?? example(schema, schema));
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [durable, setDurable] = useState(true);
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const put = (/** @type {string} */ name, /** @type {any} */ value, /** @type {string} */ problem = '') => {
    if (!problem) setPayload({ ...payload, [name]: value });
    setWrong({ ...wrong, [name]: problem });
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setAnswer({ sending: true });
    try {
      setAnswer({ receipt: await publish(topic, payload, durable) });
    } catch (error) {
      setAnswer({ error });
    }
  };
  const problems = Object.values(wrong).some(Boolean);
  const json = JSON.stringify(payload);
  return html`<form class="publish" onSubmit=${send}>
    <p class="muted">${start ? 'Filled in from the last packet.' : 'No packet yet: filled in from the schema.'}</p>
    ${Object.entries(schema.properties ?? {}).map(([name, field]) => html`<${Field} key=${name} name=${name} schema=${{ ...resolved(field, schema), description: /** @type {any} */ (field).description }} value=${payload?.[name]} problem=${wrong[name]} put=${put} />`)}
    <label class="check"><input type="checkbox" checked=${durable} onChange=${(/** @type {any} */ e) => setDurable(e.target.checked)} />Wait until it is on disk</label>
    <div class="row"><button type="submit" class="button primary" disabled=${problems || answer?.sending}>Publish</button>
      <${CopyButtons} what="this packet" csf=${`csf pub ${quoted(topic)} ${quoted(json)}${durable ? '' : ' --no-wait'}`} curl=${curl(topicPath(topic), { body: { payload, durable } })} /></div>
    <div aria-live="polite">
      ${answer?.receipt && html`<p class="receipt">Published as <${PacketLink} id=${answer.receipt.id} />, ${answer.receipt.durability === 'disk' ? 'safe on disk' : 'not yet on disk'}${answer.receipt.position !== undefined && `, position ${count(answer.receipt.position)}`}.</p>`}
      ${answer?.error && html`<${Failure} error=${answer.error} />`}
    </div>
  </form>`;
}

/** @param {{name: string, schema: any, value: any, problem: string | undefined, put: (n: string, v: any, p?: string) => void}} props */
function Field({ name, schema, value, problem, put }) {
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  const id = `field-${name}`;
  let input;
  const choices = constants(schema);
  if (choices) {
    input = html`<select id=${id} class="field" onChange=${(/** @type {any} */ e) => put(name, choices[e.target.selectedIndex])}>${choices.map((/** @type {any} */ v) => html`<option selected=${v === value}>${String(v)}</option>`)}</select>`;
  } else if (type === 'boolean') {
    input = html`<input id=${id} type="checkbox" checked=${value} onChange=${(/** @type {any} */ e) => put(name, e.target.checked)} />`;
  } else if (type === 'number' || type === 'integer') {
    input = html`<input id=${id} class="field" type="number" step="any" value=${value} onInput=${(/** @type {any} */ e) => put(name, Number(e.target.value), Number.isNaN(e.target.valueAsNumber) ? 'wants a number' : '')} />`;
  } else if (type === 'string') {
    input = html`<input id=${id} class="field" type="text" value=${value} onInput=${(/** @type {any} */ e) => put(name, e.target.value)} />`;
  } else {
    input = html`<input id=${id} class="field mono" type="text" value=${JSON.stringify(value)} spellcheck=${false} onInput=${(/** @type {any} */ e) => {
      try {
        put(name, JSON.parse(e.target.value));
      } catch {
        put(name, null, 'is not JSON');
      }
    }} />`;
  }
  return html`<div class="form-row"><label for=${id}><code>${name}</code><span class="muted" title=${typeName(schema)}>${schema.description ? prose(schema.description) : typeName(schema)}</span></label>${input}${problem && html`<span class="problem" role="alert">${problem}</span>`}</div>`;
}
