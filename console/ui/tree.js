// @ts-check
/** A payload as a tree: keys, values by kind, short number arrays on one line, deep parts folded. */
import { html } from './html.js';

/** @param {{value: any, name?: string, depth?: number}} props */
export function Tree({ value, name, depth = 0 }) {
  if (value === null || typeof value !== 'object') return html`<div class="leaf">${key(name)}${scalar(value)}</div>`;
  const entries = Array.isArray(value) ? value.map((v, i) => /** @type {[string, any]} */ ([String(i), v])) : Object.entries(value);
  if (Array.isArray(value) && value.length <= 16 && value.every((v) => v === null || typeof v !== 'object')) {
    return html`<div class="leaf">${key(name)}<span class="punct">[</span>${value.map((v, i) => html`${i > 0 && html`<span class="punct">, </span>`}${scalar(v)}`)}<span class="punct">]</span></div>`;
  }
  if (depth === 0) return html`<div class="tree">${entries.map(([k, v]) => html`<${Tree} key=${k} name=${k} value=${v} depth=${1} />`)}</div>`;
  return html`<details class="branch" open=${depth < 3}>
    <summary>${key(name)}<span class="muted">${Array.isArray(value) ? `${value.length} items` : `${entries.length} fields`}</span></summary>
    ${entries.slice(0, 200).map(([k, v]) => html`<${Tree} key=${k} name=${k} value=${v} depth=${depth + 1} />`)}
  </details>`;
}

/** @param {string | undefined} name */
const key = (name) => name !== undefined && html`<span class="key">${name}</span>`;

/** @param {any} v */
function scalar(v) {
  if (v === null || v === undefined) return html`<span class="val-null">null</span>`;
  if (typeof v === 'number') return html`<span class="val-number">${numeral(v)}</span>`;
  if (typeof v === 'boolean') return html`<span class="val-bool">${String(v)}</span>`;
  if (/^-?\d+$/.test(v)) return html`<span class="val-number">${v}</span>`;
  return html`<span class="val-text">"${v}"</span>`;
}

/** Enough digits to be exact where it matters, few enough to be read. @param {number} v */
const numeral = (v) => (Number.isInteger(v) ? String(v) : Math.abs(v) >= 1e-4 && Math.abs(v) < 1e9 ? String(Number(v.toPrecision(9))) : v.toExponential(4));
