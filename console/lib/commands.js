// @ts-check
/** Every panel can be had without the console: as a `csf` command and as a `curl` line. */
import { page } from './store.js';
import { resource } from './api.js';

/** Quotes for a POSIX shell. @param {string} text */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`);

/** Where the node keeps its token: in its journal directory. */
function tokenFile() {
  const directory = resource('/node', 2000).data?.journal?.directory;
  return directory ? quoted(`${directory}/api.token`) : 'api.token';
}

/**
 * @param {string} path below /api/v1
 * @param {{stream?: boolean, body?: unknown}} options
 */
export function curl(path, options = {}) {
  const parts = [`curl -s${options.stream ? 'N' : ''}`, `-H "Authorization: Bearer $(cat ${tokenFile()})"`];
  if (options.body !== undefined) parts.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(options.body))}`);
  parts.push(quoted(`${location.origin}/api/v1${path}`));
  return parts.join(' ');
}

/** @param {string} globs */
export const curlSubscribe = (globs) => curl(`/subscribe?topics=${globs}`, { stream: true });

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyBySelection(text)) return page.say('The browser refused the clipboard', 'bad');
  }
  page.say(text);
}

/** The way that works without clipboard permission. @param {string} text */
function copyBySelection(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'offscreen';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}
