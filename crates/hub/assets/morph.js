// Makes a part of the page like the server's present one, and leaves alone what is alike already: what has the focus keeps
// it, what is open stays open, what is typed stays.
//
// `data-keep` marks what scripts have filled: of it only parts with `data-fresh` are changed.

/**
 * A page of this hub, as a document that runs no scripts.
 * @param {string} address
 * @returns {Promise<Document>}
 */
export function page(address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('GET', address);
    request.responseType = 'document';
    request.onload = () => {
      const isPage = request.status === 200 && new URL(request.responseURL).pathname === address.split('?')[0];
      if (isPage && request.responseXML) resolve(request.responseXML);
      else reject(new Error(`the hub answered ${request.status}`));
    };
    request.onerror = () => reject(new Error('the hub cannot be reached'));
    request.send();
  });
}

/** @param {Element} old @param {Element} fresh */
export function morph(old, fresh) {
  const kept = old.getAttribute('data-keep');
  if (kept !== null) {
    for (const part of old.querySelectorAll('[data-fresh]')) {
      const name = CSS.escape(part.getAttribute('data-fresh') ?? '');
      const replacement = fresh.querySelector(`[data-fresh="${name}"]`);
      if (replacement) morph(part, replacement);
    }
    return;
  }
  attributes(old, fresh);
  if (!(old instanceof HTMLTextAreaElement)) children(old, fresh);
}

/** @param {Element} old @param {Element} fresh */
function attributes(old, fresh) {
  const isOwn = (/** @type {string} */ name) => old instanceof HTMLDetailsElement && name === 'open';
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isOwn(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !isOwn(name)) old.setAttribute(name, value);
  }
}

/** @param {Element} old @param {Element} fresh */
function children(old, fresh) {
  const spare = [...old.childNodes];
  const wanted = [...fresh.childNodes].map((node) => {
    const index = spare.findIndex((candidate) => isAlike(candidate, node));
    if (index < 0) return document.importNode(node, true);
    const [found] = spare.splice(index, 1);
    if (found instanceof Element && node instanceof Element) morph(found, node);
    else if (found.nodeValue !== node.nodeValue) found.nodeValue = node.nodeValue;
    return found;
  });
  for (const node of spare) node.remove();
  wanted.forEach((node, index) => {
    const there = old.childNodes[index] ?? null;
    if (there !== node) old.insertBefore(node, there);
  });
}

/** @param {Node} one @param {Node} other @returns {boolean} */
function isAlike(one, other) {
  if (one.nodeName !== other.nodeName) return false;
  return !(one instanceof Element && other instanceof Element) || key(one) === key(other);
}

/** @param {Element} part @returns {string} what tells it from its neighbours */
function key(part) {
  return part.getAttribute('data-keep') ?? part.id;
}
