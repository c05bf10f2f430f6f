// Times, durations and sizes as people read them, as the server's pages/words.rs says them.

/** @param {number} secs @returns {string} `45 s`, `30 min`, `1 h 30 min`, `2 days 3 h` */
export function duration(secs) {
  secs = Math.max(0, Math.floor(secs));
  const minutes = Math.floor(secs / 60);
  const hours = Math.floor(minutes / 60);
  /** @type {(large: number, unit: string, small: number, smallUnit: string) => string} */
  const two = (large, unit, small, smallUnit) => `${large} ${unit}` + (small === 0 ? '' : ` ${small} ${smallUnit}`);
  if (secs < 60) return `${secs} s`;
  if (secs < 600) return two(minutes, 'min', secs % 60, 's');
  if (secs < 3600) return `${minutes} min`;
  if (secs < 86400) return two(hours, 'h', minutes % 60, 'min');
  return two(Math.floor(hours / 24), hours < 48 ? 'day' : 'days', hours % 24, 'h');
}

/** @param {number} secs @returns {string} `4:05`, `29:59`, `1:00:00`, `2 days 3 h` */
export function countdown(secs) {
  secs = Math.max(0, Math.ceil(secs));
  if (secs >= 86400) return duration(secs);
  const two = (/** @type {number} */ number) => String(number).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(secs / 3600), Math.floor(secs / 60) % 60, secs % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** @param {number} count @returns {string} `999 B`, `1.2 kB`, `34 MB` */
export function bytes(count) {
  return scaled(count, 'B', ['kB', 'MB', 'GB', 'TB']);
}

/** @param {number} bitsPerSecond @returns {string} `0 bit/s`, `1.2 Mbit/s` */
export function rate(bitsPerSecond) {
  return scaled(bitsPerSecond, 'bit/s', ['kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);
}

/** @param {number} number @param {string} unit @param {string[]} larger @returns {string} */
function scaled(number, unit, larger) {
  if (number < 1000) return `${Math.floor(number)} ${unit}`;
  const power = Math.min(larger.length, Math.floor(Math.log10(number) / 3 + 1e-9));
  const tenths = Math.floor((number * 10) / 1000 ** power);
  const text = tenths < 100 ? `${Math.floor(tenths / 10)}.${tenths % 10}` : String(Math.floor(tenths / 10));
  return `${text} ${larger[power - 1]}`;
}

/**
 * A lifetime as it is typed: minutes, or numbers with units, such as `90`, `45 min`, `2h 30m`, `1 day`.
 * @param {string} text
 * @returns {number | null} seconds
 */
export function seconds(text) {
  text = text.trim().toLowerCase();
  if (/^\d{1,7}$/.test(text)) return Number(text) * 60;
  const part = /\s*(\d{1,7})\s*(days?|d|hours?|hrs?|hr|h|minutes?|mins?|min|m|seconds?|secs?|sec|s)(?![a-z])/y;
  let sum = 0;
  while (part.lastIndex < text.length) {
    const found = part.exec(text);
    if (found === null) return null;
    const unit = { d: 86400, h: 3600, m: 60, s: 1 }[found[2][0]] ?? 0;
    sum += Number(found[1]) * unit;
  }
  return text === '' ? null : sum;
}

/** @param {string} instant RFC 3339 @param {number} now milliseconds since 1970 @returns {string} */
export function localTime(instant, now) {
  const date = new Date(instant);
  const isToday = new Date(now).toDateString() === date.toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const clock = { hour: '2-digit', minute: '2-digit', second: isToday ? '2-digit' : undefined };
  if (isToday) return date.toLocaleTimeString(undefined, clock);
  return date.toLocaleString(undefined, { ...clock, day: 'numeric', month: 'short', year: 'numeric' });
}
