// Extending and ending a gateway, wherever the page offers it.

import { call, explained } from './api.js';
import { announce, one } from './dom.js';
import { duration } from './words.js';

/** Tells the page that something of its gateways has changed. */
export const CHANGED = 'adit:changed';

let isListening = false;

/** Takes over the forms that the server would answer with another page. */
export function listen() {
  if (isListening) return;
  isListening = true;
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement)) return;
    if (form.dataset.extend) {
      const by = Number(event.submitter?.getAttribute('value'));
      event.preventDefault();
      void act(
        form,
        () => call('POST', `/leases/${form.dataset.extend}/extend`, { by_secs: by }),
        `Extended by ${duration(by)}.`,
      );
    } else if (form.dataset.end) {
      event.preventDefault();
      void act(form, () => call('DELETE', `/leases/${form.dataset.end}`), 'The gateway is being removed.');
    }
  });
}

/**
 * Does something once, however often its button is pressed, and says what came of it.
 * @param {HTMLElement} part what is busy meanwhile, and where a problem is shown
 * @param {() => Promise<unknown>} action
 * @param {string} done what is said if it went well
 * @returns {Promise<boolean>} whether it went well
 */
export async function act(part, action, done) {
  if (part.getAttribute('aria-busy') === 'true') return false;
  part.setAttribute('aria-busy', 'true');
  try {
    await action();
    complain(part, '');
    announce(done);
    document.dispatchEvent(new CustomEvent(CHANGED));
    return true;
  } catch (error) {
    complain(part, explained(error));
    return false;
  } finally {
    part.removeAttribute('aria-busy');
  }
}

/** Shows a problem beside what caused it; nothing removes it. @param {HTMLElement} part @param {string} text */
export function complain(part, text) {
  let place = one(part, ':scope > [data-problem]');
  if (place === null) {
    if (text === '') return;
    place = document.createElement('p');
    place.className = 'field-problem';
    place.setAttribute('role', 'alert');
    place.dataset.problem = '';
    part.append(place);
  }
  place.textContent = text;
}
