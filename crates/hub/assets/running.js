// The list of running gateways: keeps it as the hub has it.

import { CHANGED, listen } from './actions.js';
import { call } from './api.js';
import { one } from './dom.js';
import { morph, page } from './morph.js';
import { dress } from './page.js';
import { plot } from './traffic.js';
import { bytes } from './words.js';

/** Milliseconds between questions. */
const EVERY = 5000;

let shown = '';

/** Keeps the list, if the page has one. */
export function list() {
  if (!one(document, '#running')) return;
  listen();
  plot();
  document.addEventListener(CHANGED, () => void refresh());
  void round();
}

async function round() {
  if (!one(document, '#running')) return;
  if (!document.hidden) await look().catch(() => {});
  setTimeout(round, EVERY);
}

async function look() {
  const { items } = await call('GET', '/leases?running=true&limit=100');
  /** @type {any[]} */
  const leases = items;
  const signature = JSON.stringify(
    leases.map((lease) => [lease.id, lease.state, lease.ends_at, lease.unreachable_since, lease.peers.length]),
  );
  if (signature !== shown) {
    // The first look finds what the page was made from.
    if (shown !== '') await refresh();
    shown = signature;
  }
  for (const lease of leases) {
    const card = one(document, `[data-lease="${CSS.escape(lease.id)}"]`);
    for (const way of ['received', 'sent']) {
      const part = card && one(card, `[data-field="${way}"]`);
      if (part) part.textContent = bytes(lease[`${way}_bytes`]);
    }
  }
}

async function refresh() {
  if (!one(document, '#running')) return;
  const fresh = await page('/').catch(() => null);
  const [old, now] = [one(document, '#running'), fresh && one(fresh, '#running')];
  if (!old || !now) return;
  morph(old, now);
  dress(old);
}
