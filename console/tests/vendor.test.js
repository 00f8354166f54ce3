import test from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root));

/** Every file below a folder, relative to the console. */
function files(folder) {
  return readdirSync(new URL(folder, root)).flatMap((name) => (statSync(new URL(folder + name, root)).isDirectory() ? files(`${folder}${name}/`) : [folder + name]));
}

test('vendored files are exactly the listed ones', () => {
  const listed = new Map([...read('vendor/README.md').toString().matchAll(/\| `([^`]+)` \|.*`([0-9a-f]{64})`/g)].map((m) => [`vendor/${m[1]}`, m[2]]));
  const there = files('vendor/').filter((f) => !f.endsWith('README.md') && !/LICENSE/.test(f));
  assert.deepEqual(there.sort(), [...listed.keys()].sort());
  for (const [file, sum] of listed) assert.equal(createHash('sha256').update(read(file)).digest('hex'), sum, file);
});

test('nothing is loaded from another place and no markup carries style or script', () => {
  const own = files('').filter((f) => /\.(js|css|html)$/.test(f) && !/^(vendor|tests)\//.test(f));
  for (const file of own) {
    const text = read(file).toString();
    assert.doesNotMatch(text.replaceAll('http://www.w3.org/2000/svg', ''), /https?:\/\/[a-z]/i, file);
    if (file.endsWith('.html')) assert.doesNotMatch(text, /<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)/i, file);
    assert.doesNotMatch(text, /innerHTML|dangerouslySetInnerHTML|eval\(/, file);
  }
});

test('each own module says what it is, is checked, and stays under 300 lines', () => {
  for (const file of files('').filter((f) => /\.js$/.test(f) && !/^(vendor|tests)\//.test(f))) {
    const text = read(file).toString();
    assert.match(text, /^\/\/ @ts-check\n\/\*\*/, file);
    assert.ok(text.split('\n').length <= 300, `${file} has ${text.split('\n').length} lines`);
  }
});
