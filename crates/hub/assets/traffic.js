// Asks for the traffic of the gateways on the page, and has it drawn.

import { call } from './api.js';
import { now } from './clock.js';
import { all } from './dom.js';
import { draw, spark } from './plot.js';

/** Milliseconds between questions; the hub measures as often. */
const EVERY = 5000;

let isRunning = false;

/** Draws every plot of the page, from now on and again and again. */
export function plot() {
  if (isRunning) return;
  isRunning = true;
  void round();
}

async function round() {
  if (!document.hidden) {
    await Promise.allSettled(all(document, '[data-plot], [data-spark]').map(one));
  }
  setTimeout(round, EVERY);
}

/** @param {HTMLElement} frame */
async function one(frame) {
  const lease = frame.dataset.plot ?? frame.dataset.spark;
  const { samples } = await call('GET', `/leases/${lease}/traffic`);
  if (frame.dataset.plot) draw(frame, samples, now());
  else spark(frame, samples);
}
