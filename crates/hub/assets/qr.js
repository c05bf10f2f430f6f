// QR codes, drawn here: what they hold goes nowhere.

import { correction, generate } from './lean-qr.js';
import { drawing } from './dom.js';

/** Modules of quiet zone around the code. ISO/IEC 18004, section 6.3.8. */
const QUIET = 4;

/**
 * Black on white whatever the page's colours are, or scanners would not read it.
 * @param {string} text
 * @param {string} label what screen readers say
 * @returns {SVGElement}
 */
export function qr(text, label) {
  const code = generate(text, { minCorrectionLevel: correction.L });
  const side = code.size + 2 * QUIET;
  const attributes = {
    viewBox: `0 0 ${side} ${side}`,
    role: 'img',
    'aria-label': label,
    'shape-rendering': 'crispEdges',
  };
  return drawing(
    'svg',
    attributes,
    drawing('rect', { width: side, height: side, fill: '#fff' }),
    drawing('path', { d: path(code), fill: '#000' }),
  );
}

/**
 * Every run of dark modules in a row as a rectangle.
 * @param {{size: number, get: (x: number, y: number) => boolean}} code
 * @returns {string}
 */
export function path(code) {
  let path = '';
  for (let y = 0; y < code.size; y += 1) {
    for (let x = 0; x < code.size; x += 1) {
      let end = x;
      while (end < code.size && code.get(end, y)) end += 1;
      if (end === x) continue;
      path += `M${x + QUIET} ${y + QUIET}h${end - x}v1h-${end - x}z`;
      x = end;
    }
  }
  return path;
}
