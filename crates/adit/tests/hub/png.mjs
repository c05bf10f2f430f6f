// Makes the pictures of a browser small enough for a page of text: a palette of 256 colours instead of all of them.
//
// Of the PNG specification, third edition: 7.2 scan lines, 9.2 filters, 11.2 chunks. For what Chromium writes: 8 bits for each
// of three channels, not interlaced.

import { readFileSync, writeFileSync } from 'node:fs';
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = 8;
const CHANNELS = 3;

/// Writes the picture of a file anew.
export function shrink(path) {
  const file = readFileSync(path);
  const { width, height, data } = read(file);
  const pixels = unfiltered(inflateSync(data), width * CHANNELS, height);
  const colours = palette(pixels);
  const index = nearest(colours);
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      rows[y * (width + 1) + 1 + x] = index(pixels.readUIntBE((y * width + x) * CHANNELS, CHANNELS));
    }
  }
  const header = Buffer.from(file.subarray(SIGNATURE + 8, SIGNATURE + 21));
  header[9] = 3;
  const plte = Buffer.alloc(colours.length * CHANNELS);
  colours.forEach((colour, at) => plte.writeUIntBE(colour, at * CHANNELS, CHANNELS));
  const idat = deflateSync(rows, { level: 9 });
  const chunks = [chunk('IHDR', header), chunk('PLTE', plte), chunk('IDAT', idat), chunk('IEND', Buffer.alloc(0))];
  writeFileSync(path, Buffer.concat([file.subarray(0, SIGNATURE), ...chunks]));
}

function read(file) {
  const parts = [];
  let [width, height] = [0, 0];
  for (let at = SIGNATURE; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const kind = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (kind === 'IDAT') parts.push(body);
    if (kind === 'IHDR') {
      [width, height] = [body.readUInt32BE(0), body.readUInt32BE(4)];
      if (body[8] !== 8 || body[9] !== 2 || body[12] !== 0) throw new Error('a picture of another kind');
    }
    at += 12 + length;
  }
  return { width, height, data: Buffer.concat(parts) };
}

function unfiltered(raw, stride, height) {
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const left = x < CHANNELS ? 0 : pixels[at - CHANNELS];
      const above = y === 0 ? 0 : pixels[at - stride];
      const corner = x < CHANNELS || y === 0 ? 0 : pixels[at - stride - CHANNELS];
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      pixels[at] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return pixels;
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/// The colours that most pixels have.
function palette(pixels) {
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += CHANNELS) {
    const colour = pixels.readUIntBE(at, CHANNELS);
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const common = [...counts].sort(([, one], [, other]) => other - one);
  return common.slice(0, 256).map(([colour]) => colour);
}

/// Finds the place of the colour that is most like another.
function nearest(colours) {
  const known = new Map(colours.map((colour, at) => [colour, at]));
  const distance = (one, other) =>
    [16, 8, 0].reduce((sum, shift) => sum + (((one >> shift) & 255) - ((other >> shift) & 255)) ** 2, 0);
  return (wanted) => {
    if (!known.has(wanted)) {
      const distances = colours.map((colour) => distance(colour, wanted));
      known.set(wanted, distances.indexOf(Math.min(...distances)));
    }
    return known.get(wanted);
  };
}

function chunk(kind, body) {
  const named = Buffer.concat([Buffer.from(kind, 'latin1'), body]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}
