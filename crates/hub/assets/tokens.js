// Copies a token that was just made.

import './page.js';
import { announce, one } from './dom.js';

document.addEventListener('click', async (event) => {
  const button = event.target instanceof Element ? event.target.closest('[data-copy]') : null;
  const source = button && one(document, `#${CSS.escape(button.getAttribute('data-copy') ?? '')}`);
  if (!button || !source) return;
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(source.textContent ?? '');
    button.textContent = 'Copied';
    announce('The token is copied.');
  } else {
    getSelection()?.selectAllChildren(source);
    announce('The token is selected: copy it with the keyboard.');
  }
});
