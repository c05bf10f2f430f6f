// The page of one lease: follows what happens to it.

import { CHANGED, complain, listen } from './actions.js';
import { call, explained } from './api.js';
import { all, announce, focusTitle, one } from './dom.js';
import { dressDevices, hasUntakenHandOver, listenToDevices, meetGateway } from './devices.js';
import { hasUntaken } from './keys.js';
import { morph, page } from './morph.js';
import { dress } from './page.js';
import { plot } from './traffic.js';
import { bytes } from './words.js';

/** What the hub tells of by events, but for the lease itself. */
const KINDS = [
  ...['requested', 'provisioning', 'configuring', 'ready', 'handshake', 'extended', 'peer_added', 'peer_removed'],
  ...['handed_over', 'unreachable', 'reachable', 'rekeyed', 'retry', 'failed', 'lost', 'removing', 'removed'],
];

/** Milliseconds between questions while there are no events. */
const POLL = 5000;

let followed = '';
let shown = '';
let isLeaving = false;
/** @type {((lease: any) => void)[]} */
const watchers = [];

/** Follows the lease that the page shows, if it shows one. */
export function follow() {
  const root = one(document, '.lease-page');
  const lease = root?.dataset.lease;
  if (!root || !lease) return;
  dressDevices(root);
  openSystem(root);
  if (followed === lease) return;
  if (followed === '') {
    listen();
    listenToDevices();
    warnBeforeLeaving();
    document.addEventListener(CHANGED, () => void refresh());
  }
  followed = lease;
  shown = '';
  plot();
  if (root.dataset.state !== 'removed') connect(lease);
}

/** @param {(lease: any) => void} watcher is told of every change of the lease */
export function watch(watcher) {
  watchers.push(watcher);
}

/** @param {string} lease */
function connect(lease) {
  const events = new EventSource(`/api/v1/leases/${lease}/events`);
  let heard = 0;
  for (const kind of KINDS) {
    events.addEventListener(kind, (event) => {
      const { number, at, message } = JSON.parse(event.data);
      // What was before the page came need not be said.
      if (number > heard && Date.now() - Date.parse(at) < 30_000) announce(kind === 'ready' ? `Ready: ${message}` : message);
      heard = Math.max(heard, number);
      void refresh();
    });
  }
  events.addEventListener('lease', (event) => update(JSON.parse(event.data)));
  events.addEventListener('end', () => {
    events.close();
    void refresh();
  });
  events.addEventListener('error', () => {
    if (followed !== lease) events.close();
    else if (events.readyState === EventSource.CLOSED) setTimeout(poll, POLL, lease);
  });
}

/** Asks again and again where the events do not come. @param {string} lease */
async function poll(lease) {
  if (followed !== lease) return;
  const row = await call('GET', `/leases/${lease}`).catch((error) => {
    const root = one(document, '.lease-page');
    // The next version of the page that comes is without it.
    if (root) complain(root, `This page no longer follows the gateway. ${explained(error)}`);
    return null;
  });
  if (row) update(row);
  if (row?.state === 'removed') await refresh();
  else setTimeout(poll, POLL, lease);
}

/** Shows a lease as it is. @param {any} lease */
function update(lease) {
  if (lease.id !== followed) return;
  meetGateway(lease);
  for (const watcher of watchers) watcher(lease);
  for (const way of ['received', 'sent']) {
    for (const part of all(document, `[data-total="${way}"]`)) part.textContent = bytes(lease[`${way}_bytes`]);
  }
  for (const peer of lease.peers) {
    const card = one(document, `[data-device="${CSS.escape(peer.name)}"]`);
    if (!card) continue;
    for (const way of ['received', 'sent']) {
      const part = one(card, `[data-field="${way}"]`);
      if (part) part.textContent = bytes(peer[`${way}_bytes`]);
    }
    const latest = one(card, '[data-handshake] [data-since]');
    if (latest && peer.latest_handshake_at) latest.setAttribute('datetime', peer.latest_handshake_at);
  }
  const peers = lease.peers.map((/** @type {any} */ peer) => [
    peer.name,
    peer.public_key,
    !!peer.first_handshake_at,
    peer.handed_over_at,
  ]);
  const signature = JSON.stringify([
    lease.state,
    lease.doing,
    lease.ends_at,
    lease.fault,
    lease.unreachable_since,
    lease.gateway,
    peers,
  ]);
  if (signature !== shown) {
    shown = signature;
    void refresh();
  }
}

let isRefreshing = false;
let isStale = false;
/** @type {ReturnType<typeof setTimeout> | undefined} the next try, while the hub is out of reach */
let nextTry;

/** Makes the page like the server's present one. */
async function refresh() {
  isStale = true;
  if (isRefreshing) return;
  isRefreshing = true;
  clearTimeout(nextTry);
  try {
    while (isStale) {
      isStale = false;
      const fresh = await page(`/leases/${followed}`);
      const [old, now] = [one(document, 'main'), one(fresh, 'main')];
      if (!old || !now) return;
      const hadFocus = document.activeElement !== document.body;
      morph(old, now);
      document.title = fresh.title;
      dress(old);
      dressDevices(old);
      openSystem(old);
      // What had the focus may be gone.
      if (hadFocus && document.activeElement === document.body) focusTitle();
    }
  } catch {
    // There may be no next event: a hub that was out of reach is asked again.
    nextTry = setTimeout(() => void refresh(), POLL);
  } finally {
    isRefreshing = false;
  }
}

/** Opens the part for the reader's own system. @param {ParentNode} root */
function openSystem(root) {
  const section = one(root, '#connect');
  if (!section || section.dataset.opened) return;
  section.dataset.opened = '';
  const agent = navigator.userAgent;
  const system = [
    ['android', /Android/],
    ['ios', /iPhone|iPad/],
    ['windows', /Windows/],
    ['macos', /Mac OS/],
    ['linux', /Linux/],
  ].find(([, pattern]) => /** @type {RegExp} */ (pattern).test(agent))?.[0];
  const part = one(section, `[data-system="${system}"]`);
  if (part instanceof HTMLDetailsElement) part.open = true;
}

/** Asks before a key is lost that nobody has taken. */
function warnBeforeLeaving() {
  addEventListener('beforeunload', (event) => {
    if (isLeaving || !(hasUntaken() || hasUntakenHandOver())) return;
    event.preventDefault();
    event.returnValue = true;
  });
  addEventListener('popstate', () => {
    const question =
      'The private keys of this page are lost if you leave, and nobody has taken the configuration yet. Leave?';
    if ((hasUntaken() || hasUntakenHandOver()) && !confirm(question)) {
      history.pushState(null, '', `/leases/${followed}`);
      return;
    }
    isLeaving = true;
    location.reload();
  });
}

if (typeof document !== 'undefined') follow();
