// Plots of traffic, drawn as SVG.

import { drawing, element } from './dom.js';
import { localTime, rate } from './words.js';

/** @typedef {{at: string, received_bytes: number, sent_bytes: number}} Sample counted since the gateway started */
/** @typedef {{at: number, down: number, up: number}} Rate bits a second, as devices see it, at a moment in milliseconds */

const HEIGHT = 200;
const MARGIN = { left: 76, right: 12, top: 12, bottom: 28 };

/**
 * What flowed between samples. A counter that went back began anew with its gateway.
 * @param {Sample[]} samples
 * @returns {Rate[]}
 */
export function rates(samples) {
  /** @type {Rate[]} */
  const found = [];
  for (let index = 1; index < samples.length; index += 1) {
    const [before, after] = [samples[index - 1], samples[index]];
    const at = Date.parse(after.at);
    const secs = (at - Date.parse(before.at)) / 1000;
    if (!(secs > 0)) continue;
    const bits = (/** @type {number} */ from, /** @type {number} */ to) => ((to < from ? to : to - from) * 8) / secs;
    found.push({
      at,
      down: bits(before.sent_bytes, after.sent_bytes),
      up: bits(before.received_bytes, after.received_bytes),
    });
  }
  return found;
}

/**
 * The end of an axis that goes from zero to at least `most` in steps that people like.
 * @param {number} most
 * @returns {number}
 */
export function top(most) {
  const least = Math.max(most, 1000);
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((end) => end >= least * 0.999999) ?? 10 * power;
}

/** @param {Rate[]} points @returns {string} what the plot shows, in words */
export function words(points) {
  const last = points.at(-1);
  if (last === undefined) return 'No traffic has been measured yet.';
  const most = (/** @type {'down' | 'up'} */ way) => rate(Math.max(...points.map((point) => point[way])));
  const minutes = Math.max(1, Math.round((last.at - points[0].at) / 60000));
  const span = minutes === 1 ? 'the last minute' : `the last ${minutes} minutes`;
  return (
    `Traffic of ${span}. To devices: ${rate(last.down)} at present, ${most('down')} at most. ` +
    `From devices: ${rate(last.up)} at present, ${most('up')} at most.`
  );
}

/**
 * Draws a plot with axes, and the same as a table for who does not see it.
 * @param {HTMLElement} frame
 * @param {Sample[]} samples
 * @param {number} now milliseconds since 1970
 */
export function draw(frame, samples, now) {
  const points = rates(samples);
  const wasOpen = frame.querySelector('details')?.open ?? false;
  if (points.length < 2) {
    frame.replaceChildren(
      element('p', { class: 'soft' }, 'The plot begins with the second measurement, in a few seconds.'),
    );
    return;
  }
  const table = element(
    'details',
    { open: wasOpen },
    element('summary', { class: 'small soft' }, 'As a table'),
    tabled(points, now),
  );
  frame.classList.add('plot');
  // In the frame's own pixels, so that the text has the size of the page's.
  const svg = plotted(points, now, Math.max(240, Math.round(frame.clientWidth)));
  const there = frame.querySelector('svg');
  const details = frame.querySelector('details');
  if (there && details) {
    there.replaceWith(svg);
    if (wasOpen) details.lastElementChild?.replaceWith(tabled(points, now));
  } else {
    frame.replaceChildren(svg, table);
  }
}

/** Draws a plot without axes. @param {HTMLElement} frame @param {Sample[]} samples */
export function spark(frame, samples) {
  const points = rates(samples);
  if (points.length < 2) return;
  const area = { left: 0, right: 320, top: 2, bottom: 39 };
  const label = words(points);
  const attributes = { viewBox: '0 0 320 40', preserveAspectRatio: 'none', role: 'img', 'aria-label': label };
  const lines = curves(points, area, Math.max(1000, ...points.map((point) => Math.max(point.down, point.up))));
  frame.replaceChildren(drawing('svg', attributes, ...lines));
}

/** @param {Rate[]} points @param {number} now @param {number} width @returns {SVGElement} */
function plotted(points, now, width) {
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
  const end = top(Math.max(...points.map((point) => Math.max(point.down, point.up))));
  const parts = [0, 0.5, 1].flatMap((share) => {
    const y = area.bottom - share * (area.bottom - area.top);
    const text = { x: area.left - 10, y: y + 4, 'text-anchor': 'end', class: 'plot-text' };
    return [
      drawing('path', { d: `M${area.left} ${y}H${area.right}`, class: 'plot-grid' }),
      drawing('text', text, rate(end * share)),
    ];
  });
  const [first, last] = [points[0].at, points[points.length - 1].at];
  const times = [first, (first + last) / 2, last].map((at, index) => {
    const x = area.left + (index / 2) * (area.right - area.left);
    const anchor = ['start', 'middle', 'end'][index];
    const text = localTime(new Date(at).toISOString(), now);
    return drawing('text', { x, y: HEIGHT - 8, 'text-anchor': anchor, class: 'plot-text' }, text);
  });
  const attributes = { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': words(points) };
  return drawing('svg', attributes, ...parts, ...times, ...curves(points, area, end));
}

/**
 * @param {Rate[]} points
 * @param {{left: number, right: number, top: number, bottom: number}} area
 * @param {number} end what the area's top stands for
 * @returns {SVGElement[]}
 */
function curves(points, area, end) {
  const [first, last] = [points[0].at, points[points.length - 1].at];
  const line = (/** @type {'down' | 'up'} */ way) =>
    points
      .map((point) => {
        const x = area.left + ((point.at - first) / Math.max(1, last - first)) * (area.right - area.left);
        const y = area.bottom - (point[way] / end) * (area.bottom - area.top);
        return `${x.toFixed(1)} ${y.toFixed(1)}`;
      })
      .join('L');
  const down = line('down');
  return [
    drawing('path', {
      d: `M${area.left} ${area.bottom}L${down}L${area.right} ${area.bottom}z`,
      class: 'plot-area',
    }),
    drawing('path', { d: `M${down}`, class: 'plot-down' }),
    drawing('path', { d: `M${line('up')}`, class: 'plot-up' }),
  ];
}

/** @param {Rate[]} points @param {number} now @returns {HTMLElement} at most 12 rows, the newest first */
function tabled(points, now) {
  const step = Math.max(1, Math.ceil(points.length / 12));
  const shown = points.filter((_, index) => (points.length - 1 - index) % step === 0).reverse();
  const row = (/** @type {Rate} */ point) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, localTime(new Date(point.at).toISOString(), now)),
      element('td', { class: 'number' }, rate(point.down)),
      element('td', { class: 'number' }, rate(point.up)),
    );
  const head = ['Time', 'To devices', 'From devices'].map((text, index) =>
    element('th', { scope: 'col', class: index === 0 ? '' : 'number' }, text),
  );
  return element(
    'table',
    {},
    element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...shown.map(row)),
  );
}
