// What every page does: times in the reader's own zone, and clocks that run.

import { now } from './clock.js';
import { all } from './dom.js';
import { countdown, duration, localTime } from './words.js';

/** Puts the server's words into the reader's terms. @param {ParentNode} root */
export function dress(root) {
  for (const time of all(root, 'time[data-time]')) {
    const instant = time.getAttribute('datetime') ?? '';
    time.textContent = localTime(instant, now());
    time.title = instant;
  }
  tick(root);
}

/** @param {ParentNode} root */
function tick(root) {
  const seconds = (/** @type {Element} */ part, /** @type {string} */ name) =>
    (Date.parse(part.getAttribute(name) ?? '') - now()) / 1000;
  for (const part of all(root, '[data-left]')) write(part, countdown(seconds(part, 'datetime')));
  for (const part of all(root, '[data-since]')) write(part, duration(-seconds(part, 'datetime')));
  for (const part of all(root, '[data-late]')) part.hidden = seconds(part, 'data-late') > 0;
  for (const bar of all(root, 'progress[data-bar]')) {
    if (bar instanceof HTMLProgressElement) bar.value = Math.max(0, seconds(bar, 'data-bar'));
  }
}

/** @param {Element} part @param {string} text */
function write(part, text) {
  if (part.textContent !== text) part.textContent = text;
}

if (typeof document !== 'undefined') {
  dress(document);
  setInterval(() => tick(document), 1000);
}
