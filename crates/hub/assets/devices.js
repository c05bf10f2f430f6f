// The devices of a gateway: their configurations are put together here, with the private keys that this page holds.

import { act, complain } from './actions.js';
import { call, explained } from './api.js';
import { fileName, fill } from './conf.js';
import { all, announce, one, show } from './dom.js';
import { canMake, forget, isPublicKey, isTaken, make, notePasted, privateKeyOf, take, untake, wasPasted } from './keys.js';
import { nameProblem } from './request.js';
import { qr } from './qr.js';

/** Configurations that gateways made and handed over, by lease and device. @type {Map<string, {text: string, isTaken: boolean}>} */
const handedOver = new Map();

/** The gateways that configurations of this page lead to, by lease: key and endpoint. @type {Map<string, string>} */
const met = new Map();

/** @returns {boolean} whether leaving the page would lose one that nobody has taken */
export function hasUntakenHandOver() {
  return [...handedOver.values()].some((conf) => !conf.isTaken);
}

/** Shows on every card what this page can do for its device. @param {ParentNode} root */
export function dressDevices(root) {
  void canMake().then((isAble) => isAble || dressWithoutKeys(root));
  for (const card of all(root, '[data-device]')) {
    const isHeld = has(card);
    show(one(card, '[data-held]'), isHeld);
    show(one(card, '[data-not-held]'), !isHeld);
    if (!isHeld && wasPasted(card.dataset.key ?? '')) isTheirs(card);
    const saved = one(card, '[data-saved]');
    if (saved && isHeld) saved.textContent = isSafe(card) ? SAVED : card.dataset.isAnew === undefined ? UNSAVED : ANEW;
  }
}

const SAVED = 'Saved. This page forgets the private key when you leave it.';
const UNSAVED = 'The private key is in this page only. Take the configuration before you leave or reload it.';
const ANEW = 'The gateway has changed, and this is the new configuration: take it again, the one before leads nowhere.';

/**
 * Takes note of a lease's gateway. If it has another key or endpoint than before, the configurations that this page puts
 * together are other ones, and those that a gateway made are worthless.
 * @param {any} lease
 */
export function meetGateway(lease) {
  if (!lease.gateway) return;
  const gateway = `${lease.gateway.public_key} ${lease.gateway.endpoint}`;
  const before = met.get(lease.id);
  met.set(lease.id, gateway);
  if (before === undefined || before === gateway) return;
  for (const place of [...handedOver.keys()].filter((place) => place.startsWith(`${lease.id} `))) handedOver.delete(place);
  for (const card of devices()) {
    untake(card.dataset.key ?? '');
    if (has(card)) card.dataset.isAnew = '';
    void renew(card);
  }
  dressDevices(document);
}

/** Draws again what is shown of a configuration that has become another one. @param {HTMLElement} card */
async function renew(card) {
  const [conf, code] = ['[data-conf]', '[data-qr]'].map((selector) => one(card, selector));
  const shown = [conf, code].filter((part) => part !== null && !part.hidden);
  if (shown.length === 0) return;
  const text = has(card) ? await configuration(card).catch((error) => complain(card, explained(error))) : undefined;
  for (const part of shown) {
    if (typeof text !== 'string') hide(card, part);
    else if (part === conf) part?.replaceChildren(text);
    else part?.replaceChildren(picture(card, text));
  }
}

/** @param {HTMLElement} card @param {HTMLElement | null} part what leads nowhere any more */
function hide(card, part) {
  part?.replaceChildren();
  show(part, false);
  for (const button of all(card, '[aria-expanded="true"]')) button.setAttribute('aria-expanded', 'false');
}

/** Offers nothing that needs a key of this page's making. @param {ParentNode} root */
function dressWithoutKeys(root) {
  for (const part of all(root, '[data-do="replace"], [data-if-made], #add-key-hint')) part.hidden = true;
  const key = one(root, '#add-key');
  if (key instanceof HTMLInputElement) key.required = true;
}

/** Offers to a person who has the private key what is left to do with it, once. @param {HTMLElement} card */
function isTheirs(card) {
  if (card.dataset.isTheirs !== undefined) return;
  card.dataset.isTheirs = '';
  show(one(card, '[data-if-made]'), false);
  one(card, '[data-do="replace"]')?.classList.remove('primary');
  const configuration = card.querySelector('[data-not-held] details');
  if (configuration instanceof HTMLDetailsElement) configuration.open = true;
}

/** Takes over what is pressed on cards, and the form for another device. */
export function listenToDevices() {
  document.addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest('button[data-do]') : null;
    const card = button?.closest('[data-device]');
    if (button instanceof HTMLElement && card instanceof HTMLElement) void press(card, button);
  });
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement)) return;
    if (form.dataset.add !== undefined) {
      event.preventDefault();
      void add(form);
    } else if (form.dataset.remove !== undefined) {
      event.preventDefault();
      void remove(form);
    } else if (form.dataset.handOver !== undefined) {
      event.preventDefault();
      void takeOver(form);
    }
  });
}

/** @param {HTMLElement} card @param {HTMLElement} button */
async function press(card, button) {
  try {
    if (button.dataset.do === 'replace') {
      await replace(card);
      return;
    }
    if (button.dataset.do === 'download-open' || button.dataset.do === 'copy-open') {
      const open = one(card, '[data-open-conf]')?.textContent ?? '';
      if (button.dataset.do === 'download-open') download(fileName(name(card)), open);
      else await copy(button, open, () => selected(one(card, '[data-open-conf]')));
      complain(card, '');
      return;
    }
    const text = await configuration(card);
    if (button.dataset.do === 'download') download(fileName(name(card)), text);
    if (button.dataset.do === 'copy') await copy(button, text, () => select(card, text));
    if (button.dataset.do === 'show') unfold(card, button, '[data-conf]', (place) => place.replaceChildren(text));
    if (button.dataset.do === 'qr') {
      unfold(card, button, '[data-qr]', (place) => place.replaceChildren(picture(card, text)));
    }
    if (button.dataset.do !== 'show') taken(card);
    complain(card, '');
  } catch (error) {
    complain(card, explained(error));
  }
}

/** @param {HTMLElement} card @param {string} text @returns {Element} the QR code */
function picture(card, text) {
  return qr(text, `QR code with the configuration of ${name(card)}`);
}

/** @param {HTMLElement} card @returns {string} */
function name(card) {
  return card.dataset.device ?? '';
}

/** @param {Element} part @returns {string} */
function leaseOf(part) {
  return part.closest('[data-lease]')?.getAttribute('data-lease') ?? '';
}

/** @param {HTMLElement} card @returns {string} where its configuration is, if the gateway made it */
function place(card) {
  return `${leaseOf(card)} ${name(card)}`;
}

/** @param {HTMLElement} card @returns {boolean} */
function has(card) {
  return handedOver.has(place(card)) || privateKeyOf(card.dataset.key ?? '') !== null;
}

/** @param {HTMLElement} card @returns {boolean} */
function isSafe(card) {
  return handedOver.get(place(card))?.isTaken ?? isTaken(card.dataset.key ?? '');
}

/** @param {HTMLElement} card */
function taken(card) {
  take(card.dataset.key ?? '');
  const conf = handedOver.get(place(card));
  if (conf) conf.isTaken = true;
  dressDevices(document);
}

/** @param {HTMLElement} card @returns {Promise<string>} the whole configuration */
async function configuration(card) {
  const made = handedOver.get(place(card));
  if (made) return made.text;
  const key = privateKeyOf(card.dataset.key ?? '');
  if (key === null) throw new Error('the private key of this device is not in this page');
  const answer = await call('GET', `/leases/${leaseOf(card)}/peers/${encodeURIComponent(name(card))}/configuration`);
  if (answer.public_key !== card.dataset.key)
    throw new Error('the gateway has another key for this device; reload the page');
  return fill(answer.text, key);
}

/** @param {string} file @param {string} text */
function download(file, text) {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/octet-stream' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  announce(`${file} is being downloaded.`);
}

/**
 * @param {HTMLElement} button
 * @param {string} text
 * @param {() => void} otherwise what shows the text to whoever has to copy it himself
 */
async function copy(button, text, otherwise) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    // Pressed again meanwhile, it has no words of its own to come back to.
    if (button.dataset.copied === undefined) {
      button.dataset.copied = '';
      const words = [...button.childNodes];
      button.replaceChildren('Copied');
      setTimeout(() => {
        button.replaceChildren(...words);
        delete button.dataset.copied;
      }, 2000);
    }
    announce('The configuration is copied.');
    return;
  }
  // Without HTTPS a page may not write to the clipboard; the reader may.
  otherwise();
}

/** Shows and selects a whole configuration. @param {HTMLElement} card @param {string} text */
function select(card, text) {
  const [button, pre] = [one(card, '[data-do="show"]'), one(card, '[data-conf]')];
  if (button && pre?.hidden) unfold(card, button, '[data-conf]', (part) => part.replaceChildren(text));
  selected(pre);
}

/** @param {HTMLElement | null} part */
function selected(part) {
  if (!part) return;
  getSelection()?.selectAllChildren(part);
  announce('The configuration is selected: copy it with the keyboard.');
}

/**
 * Shows a part of the card, or hides it again and empties it.
 * @param {HTMLElement} card
 * @param {HTMLElement} button
 * @param {string} selector
 * @param {(part: HTMLElement) => void} write
 */
function unfold(card, button, selector, write) {
  const part = one(card, selector);
  if (part === null) return;
  const isShown = part.hidden;
  if (isShown) write(part);
  else part.replaceChildren();
  part.hidden = !isShown;
  button.setAttribute('aria-expanded', String(isShown));
}

/** @param {HTMLFormElement} form */
async function add(form) {
  const field = (/** @type {string} */ wanted) => form.querySelector(`[name="${wanted}"]`);
  const [nameField, keyField] = [field('name'), field('public_key')];
  if (!(nameField instanceof HTMLInputElement)) return;
  const device = nameField.value.trim();
  const own = keyField instanceof HTMLInputElement ? keyField.value.trim() : '';
  const problem =
    nameProblem(device, devices().map(name)) ||
    (own !== '' && !isPublicKey(own) ? 'this is not a WireGuard public key' : '');
  if (problem) {
    complain(form, `Not added: ${problem}.`);
    nameField.focus();
    return;
  }
  const isMadeHere = keyField instanceof HTMLInputElement && own === '';
  if (isMadeHere && !(await canMake())) {
    complain(form, 'This browser cannot make keys. Make a key pair yourself, and paste its public key.');
    keyField.focus();
    return;
  }
  const isAdded = await act(form, () => invite(leaseOf(form), device, isMadeHere ? null : own), `${device} is added.`);
  if (isAdded) form.reset();
}

/**
 * Lets a device in.
 * @param {string} lease
 * @param {string} device
 * @param {string | null} publicKey `null`: this page makes the pair; empty: the gateway does
 */
async function invite(lease, device, publicKey) {
  const isMadeHere = publicKey === null;
  if (publicKey) notePasted(publicKey);
  const key = isMadeHere ? await make() : publicKey;
  try {
    await call('POST', `/leases/${lease}/peers`, key === '' ? { name: device } : { name: device, public_key: key });
  } catch (error) {
    if (isMadeHere && key) forget([key]);
    throw error;
  }
}

/** @returns {HTMLElement[]} */
function devices() {
  return all(document, '[data-device]');
}

/** @param {HTMLFormElement} form */
async function remove(form) {
  const [lease, device] = [leaseOf(form), form.dataset.remove ?? ''];
  const key = form.closest('[data-device]')?.getAttribute('data-key') ?? '';
  const isGone = await act(
    form,
    () => call('DELETE', `/leases/${lease}/peers/${encodeURIComponent(device)}`),
    `${device} is removed.`,
  );
  if (!isGone) return;
  forget([key]);
  handedOver.delete(`${lease} ${device}`);
}

/** Makes a new key for a device, for instance because the page that had the old one is gone. @param {HTMLElement} card */
async function replace(card) {
  if (!(await canMake())) {
    complain(card, 'This browser cannot make keys. Make a key pair yourself, and paste its public key below.');
    return;
  }
  const [lease, device] = [leaseOf(card), name(card)];
  const change = async () => {
    const key = await make();
    try {
      await call('PUT', `/leases/${lease}/peers/${encodeURIComponent(device)}`, { public_key: key });
    } catch (error) {
      forget([key]);
      throw error;
    }
  };
  await act(card, change, `${device} has a new key.`);
}

/** @param {HTMLFormElement} form */
async function takeOver(form) {
  const card = form.closest('[data-device]');
  if (!(card instanceof HTMLElement)) return;
  const path = `/leases/${leaseOf(card)}/peers/${encodeURIComponent(name(card))}/hand-over`;
  const handOver = async () => {
    handedOver.set(place(card), { text: String(await call('POST', path)), isTaken: false });
    dressDevices(document);
  };
  const isDone = await act(form, handOver, `The configuration of ${name(card)} is here.`);
  if (isDone) one(card, '[data-do="download"]')?.focus();
}
