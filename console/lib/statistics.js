// @ts-check
/** The few statistics the console draws. */

/** Two-sided 95 % bounds of the chi-squared distribution: quantiles 0.025 and 0.975 by degrees of freedom (scipy.stats.chi2.ppf). */
const CHI2_95 = [
  [0.000982, 5.0239], [0.0506, 7.3778], [0.2158, 9.3484], [0.4844, 11.1433], [0.8312, 12.8325],
  [1.2373, 14.4494], [1.6899, 16.0128], [2.1797, 17.5345], [2.7004, 19.0228],
];

/** @param {number} degrees @returns {[number, number] | null} */
export function chi2Band95(degrees) {
  const row = CHI2_95[Math.round(degrees) - 1];
  return row ? [row[0], row[1]] : null;
}

/** Smallest and largest finite value, or null. @param {Iterable<number | null | undefined>} values @returns {[number, number] | null} */
export function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    if (v === null || v === undefined || !Number.isFinite(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return low <= high ? [low, high] : null;
}

/** Round tick distances (1, 2, 5 times a power of ten) for about `target` ticks over `span`. @param {number} span */
export function niceStep(span, target = 5) {
  const raw = span / target;
  const power = 10 ** Math.floor(Math.log10(raw));
  const unit = raw / power;
  return (unit < 1.5 ? 1 : unit < 3.5 ? 2 : unit < 7.5 ? 5 : 10) * power;
}
