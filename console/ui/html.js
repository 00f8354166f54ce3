// @ts-check
/** Preact and htm under one roof: what a view needs to draw. */
import { h, render, Fragment } from '../vendor/preact.js';
import htm from '../vendor/htm.js';

export const html = htm.bind(h);
export { render, Fragment };
export { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback } from '../vendor/preact-hooks.js';

/** Class names from what is truthy. @param {...(string | false | null | undefined)} names */
export const cls = (...names) => names.filter(Boolean).join(' ');
