// Elements, made and found. Text becomes text, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} name
 * @param {Record<string, string | number | boolean>} [attributes] `true` is an attribute without a value, `false` is none
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/**
 * @param {string} name
 * @param {Record<string, string | number | boolean>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function drawing(name, attributes = {}, ...children) {
  return filled(/** @type {SVGElement} */ (document.createElementNS(SVG, name)), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} made
 * @param {Record<string, string | number | boolean>} attributes
 * @param {(Node | string)[]} children
 * @returns {E}
 */
function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children);
  return made;
}

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement | null} */
export function one(root, selector) {
  return root.querySelector(selector);
}

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement[]} */
export function all(root, selector) {
  return [...root.querySelectorAll(selector)].filter((found) => found instanceof HTMLElement);
}

/** Tells who listens to the page. @param {string} text */
export function announce(text) {
  const announcer = one(document, '#announcer');
  if (announcer) announcer.textContent = text;
}

/** Brings who uses the keyboard to the title of a page that has changed; screen readers say it. */
export function focusTitle() {
  (one(document, '#title') ?? one(document, 'main'))?.focus({ preventScroll: true });
}

/** Shows or hides. @param {Element | null} part @param {boolean} isShown */
export function show(part, isShown) {
  if (part instanceof HTMLElement) part.hidden = !isShown;
}
