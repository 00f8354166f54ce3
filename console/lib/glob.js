// @ts-check
/** Topic globs as the node reads them: `*` is one segment, `>` the rest, commas separate alternatives. */

/** @param {string} globs @returns {(topic: string) => boolean} */
export function matcher(globs) {
  const patterns = globs.split(',').map((g) => g.trim()).filter(Boolean).map((g) => g.split('.'));
  return (topic) => {
    const segments = topic.split('.');
    return patterns.some((pattern) => matches(pattern, segments));
  };
}

/** @param {string[]} pattern @param {string[]} segments */
function matches(pattern, segments) {
  for (let i = 0; i < pattern.length; i += 1) {
    if (pattern[i] === '>') return segments.length > i;
    if (i >= segments.length || (pattern[i] !== '*' && pattern[i] !== segments[i])) return false;
  }
  return pattern.length === segments.length;
}

/**
 * What a person types into a filter box: a glob when it looks like one, otherwise words that must all occur.
 * @param {string} text
 * @returns {(...fields: (string | undefined | null)[]) => boolean}
 */
export function filter(text) {
  const query = text.trim().toLowerCase();
  if (!query) return () => true;
  if (/[*>,]/.test(query)) {
    const match = matcher(query);
    return (first) => match((first ?? '').toLowerCase());
  }
  const words = query.split(/\s+/);
  return (...fields) => {
    const hay = fields.filter(Boolean).join(' ').toLowerCase();
    return words.every((word) => hay.includes(word));
  };
}
