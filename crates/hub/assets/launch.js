// The launch form. Keys are made here, in the browser, and the request takes public keys only.

import { Problem, call, explained, idempotencyKey, sentence } from './api.js';
import { all, announce, element, focusTitle, one, show } from './dom.js';
import { canMake, forget, make, notePasted } from './keys.js';
import { follow, watch } from './lease.js';
import { page } from './morph.js';
import { dress } from './page.js';
import { Invalid, freeName, label, request, summary } from './request.js';
import { list } from './running.js';

/** @type {{body: Record<string, unknown>, made: string[]} | null} what was launched last */
let last = null;

/** @param {HTMLFormElement} form */
async function start(form) {
  form.addEventListener('input', () => follows(form));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const button = event.submitter?.getAttribute('value') ?? 'launch';
    if (button === 'add-device') addDevice(form);
    else if (button.startsWith('remove-device-')) removeDevice(form, event.submitter);
    else void launch(form);
  });
  const isAble = await canMake();
  const field = (/** @type {string} */ value) => form.querySelector(`[name="keys"][value="${value}"]`);
  const [browser, pasted] = [field('browser'), field('pasted')];
  show(one(form, '#keys-browser'), isAble);
  show(one(form, '#no-keys'), !isAble);
  const why = one(form, '#no-keys-why');
  if (why && !isAble) {
    why.textContent = isSecureContext
      ? 'It is too old to offer X25519.'
      : 'Browsers make keys only on pages that come by HTTPS, or from this very machine.';
  }
  if (browser instanceof HTMLInputElement && pasted instanceof HTMLInputElement) {
    browser.disabled = !isAble;
    // What somebody has chosen before stays: a lease is launched again as it was. Where the place makes the keys, nobody has.
    const isForced = form.querySelector('[name="place"]:checked')?.hasAttribute('data-makes-keys') ?? false;
    const isChosen = !isForced && form.querySelector('[name="keys"]:checked:not(:disabled)') !== null;
    if (!isChosen) (isAble ? browser : pasted).checked = true;
  }
  // This script says itself what is missing.
  form.noValidate = true;
  follows(form);
}

/** Shows what belongs to the choices, and says what will be launched. @param {HTMLFormElement} form */
function follows(form) {
  const fields = new FormData(form);
  for (const part of all(form, '[data-when]')) {
    const [name, value] = (part.dataset.when ?? '').split('=');
    part.hidden = fields.get(name) !== value;
  }
  const place = form.querySelector('[name="place"]:checked');
  const makesKeys = place?.hasAttribute('data-makes-keys') ?? false;
  for (const input of all(form, '[name="keys"]')) {
    if (!(input instanceof HTMLInputElement)) continue;
    const isOffered = !input.closest('[hidden]');
    input.disabled = !isOffered || (makesKeys && input.value !== 'gateway');
  }
  keysOf(form, makesKeys);
  const keys = new FormData(form).get('keys');
  show(one(document, '#keys-promise'), keys === 'browser');
  for (const part of all(form, '.public-key')) part.hidden = keys !== 'pasted';
  for (const group of all(form, '[data-choices]')) choicesOf(group, String(fields.get('place')));
  for (const field of all(form, '[data-places]')) fieldOf(field, String(fields.get('place')));
  const rows = all(form, '.device-row');
  for (const row of rows) {
    const button = one(row, 'button');
    const name = row.querySelector('input')?.value ?? '';
    button?.setAttribute('aria-label', `Remove ${name}`);
    show(button, rows.length > 1);
  }
  const isSample = place?.hasAttribute('data-sample') ?? false;
  const text =
    summary(fields) +
    (isSample ? ' A sample: nothing real runs.' : '') +
    (keys === 'gateway' ? ' The gateway makes the keys.' : '');
  const said = one(form, '#summary');
  if (said) said.textContent = text;
}

/** What was chosen before a place that makes keys itself. @type {HTMLInputElement | null} */
let before = null;

/** Chooses the gateway's keys for a place that knows no others, and afterwards what was chosen before. @param {HTMLFormElement} form @param {boolean} makesKeys */
function keysOf(form, makesKeys) {
  const [chosen, gateway] = [':checked', '[value="gateway"]'].map((which) => form.querySelector(`[name="keys"]${which}`));
  if (!(gateway instanceof HTMLInputElement)) return;
  if (makesKeys && !gateway.checked) {
    before = chosen instanceof HTMLInputElement ? chosen : null;
    gateway.checked = true;
  } else if (!makesKeys && before !== null) {
    before.checked = true;
    before = null;
  }
}

/** Leaves the options of one place. @param {HTMLElement} group @param {string} place */
function choicesOf(group, place) {
  let isAny = false;
  for (const options of group.querySelectorAll('optgroup')) {
    const isOurs = options.label === place;
    options.hidden = !isOurs;
    options.disabled = !isOurs;
    isAny ||= isOurs;
  }
  const select = group.querySelector('select');
  if (select?.selectedOptions[0]?.closest('optgroup')?.disabled) select.value = '';
  group.hidden = !isAny;
}

/** Leaves a field to the places that know it. @param {HTMLElement} field @param {string} place */
function fieldOf(field, place) {
  const isOurs = (field.dataset.places ?? '').split(' ').includes(place);
  show(field, isOurs);
  // What is disabled is not sent, and stays for when the place is chosen again.
  for (const input of field.querySelectorAll('input, textarea')) {
    if (input instanceof HTMLInputElement || input instanceof HTMLTextAreaElement) input.disabled = !isOurs;
  }
}

/** @param {HTMLFormElement} form */
function addDevice(form) {
  const rows = one(form, '#devices');
  const first = rows && one(rows, '.device-row');
  if (!rows || !first) return;
  const names = new FormData(form).getAll('device').map(String);
  const row = /** @type {HTMLElement} */ (first.cloneNode(true));
  const index = Math.max(...all(rows, 'input').map((input) => Number(input.id.split('-').at(-1)))) + 1;
  for (const input of row.querySelectorAll('input')) {
    const stem = input.name === 'device' ? 'device' : 'public-key';
    const caption = row.querySelector(`label[for="${input.id}"]`);
    input.id = `${stem}-${index}`;
    caption?.setAttribute('for', input.id);
    input.value = input.name === 'device' ? freeName(names) : '';
    input.removeAttribute('aria-invalid');
  }
  rows.append(row);
  follows(form);
  row.querySelector('input')?.select();
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} button */
function removeDevice(form, button) {
  const row = button?.closest('.device-row');
  if (!row || all(form, '.device-row').length < 2) return;
  const neighbour = row.nextElementSibling ?? row.previousElementSibling;
  announce(`${row.querySelector('input')?.value} is removed.`);
  row.remove();
  follows(form);
  neighbour?.querySelector('input')?.focus();
}

/** @param {HTMLFormElement} form */
async function launch(form) {
  const buttons = all(form, 'button[value="launch"]');
  if (buttons.some((button) => button.getAttribute('aria-disabled') === 'true')) return;
  for (const button of buttons) button.setAttribute('aria-disabled', 'true');
  announce('Launching.');
  for (const input of all(form, '[aria-invalid]')) input.removeAttribute('aria-invalid');
  show(one(form, '#problem'), false);
  /** @type {string[]} */
  const made = [];
  try {
    const fields = new FormData(form);
    const body = request(fields);
    for (const { public_key } of body.peers) if (public_key !== undefined) notePasted(public_key);
    if (fields.get('keys') === 'browser') {
      for (const peer of body.peers) {
        peer.public_key = await make();
        made.push(peer.public_key);
      }
    }
    await create(body, made);
  } catch (error) {
    // Of a lease that is there this page alone has the keys.
    if (last?.made !== made) forget(made);
    complain(form, error);
  } finally {
    for (const button of buttons) button.removeAttribute('aria-disabled');
  }
}

/**
 * Asks for the lease, a second time under the same key if the hub may not have heard, and shows it in this page, which holds
 * the private keys.
 * @param {Record<string, unknown>} body
 * @param {string[]} made
 */
async function create(body, made) {
  const key = idempotencyKey();
  const ask = () => call('POST', '/leases', body, key);
  const lease = await ask().catch((error) => {
    if (error instanceof Problem && error.isUnheard) return new Promise((wait) => setTimeout(wait, 1000)).then(ask);
    throw error;
  });
  last = { body, made };
  const address = `/leases/${lease.id}`;
  const fresh = await page(address).catch(() => null);
  const [old, now] = [one(document, 'main'), fresh && one(fresh, 'main')];
  if (!old || !now || !fresh) {
    // The keys stay here; the lease is listed on the page as it is.
    throw new Problem('The gateway is launched, but its page could not be loaded.', {
      remedy: 'It is listed below.',
    });
  }
  old.replaceChildren(...[...now.childNodes].map((node) => document.importNode(node, true)));
  document.title = fresh.title;
  one(document, 'nav [aria-current="page"]')?.removeAttribute('aria-current');
  history.pushState(null, '', address);
  dress(old);
  scrollTo(0, 0);
  focusTitle();
  follow();
}

/** Says what is wrong, and where. @param {HTMLFormElement} form @param {unknown} error */
function complain(form, error) {
  const [box, text, remedy] = ['#problem', '#problem-text', '#problem-remedy'].map((selector) => one(form, selector));
  if (!box || !text || !remedy) return;
  const field = error instanceof Invalid || error instanceof Problem ? error.field : '';
  const message = error instanceof Invalid || error instanceof Problem ? error.message : explained(error);
  text.textContent = field ? `${label(field)}: ${sentence(message)}` : sentence(message);
  const what = error instanceof Problem ? explained(error).slice(sentence(error.message).length).trim() : '';
  remedy.textContent = what;
  show(remedy, what !== '');
  show(box, true);
  const input = inputOf(form, field);
  if (input) {
    const details = input.closest('details');
    if (details) details.open = true;
    input.setAttribute('aria-invalid', 'true');
  }
  box.focus();
  box.scrollIntoView({ block: 'center' });
}

/** @param {HTMLFormElement} form @param {string} field @returns {HTMLElement | null} */
function inputOf(form, field) {
  const peer = /^peers\[(\d+)\]\.(name|public_key)$/.exec(field);
  if (peer) {
    const row = all(form, '.device-row')[Number(peer[1])];
    return row ? one(row, `[name="${peer[2] === 'name' ? 'device' : 'public_key'}"]`) : null;
  }
  /** @type {Record<string, string>} */
  const names = {
    lifetime_secs: 'lifetime_other',
    idle_end_secs: 'idle_end',
    dns: 'dns_custom',
    allowed_ips: 'networks',
  };
  const stem = field.split(/[[.]/)[0];
  const name = names[stem] ?? stem;
  return name ? one(form, `[name="${CSS.escape(name)}"]:not([type="radio"])`) : null;
}

/** Launches again what failed, with the keys that this page still holds. */
function listenForAgain() {
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[data-again]') : null;
    if (!(link instanceof HTMLElement) || last === null) return;
    event.preventDefault();
    const { body, made } = last;
    announce('Launching again.');
    create(body, made).catch((error) => {
      link.after(element('p', { class: 'field-problem', role: 'alert' }, explained(error)));
    });
  });
  // Keys of a gateway that is over open nothing.
  watch((lease) => {
    if (last && lease.state === 'removed' && lease.outcome !== 'failed') forget(last.made);
  });
}

const form = one(document, '#launch');
if (form instanceof HTMLFormElement) void start(form);
listenForAgain();
list();
