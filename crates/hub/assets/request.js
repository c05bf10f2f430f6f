// From the fields of the launch form to the request, as the server's pages/launch_request.rs does it.

import { isPublicKey } from './keys.js';
import { duration, seconds } from './words.js';

/** A field that cannot be read. */
export class Invalid extends Error {
  /** @param {string} field @param {string} problem */
  constructor(field, problem) {
    super(problem);
    this.field = field;
  }
}

/** @typedef {{name: string, public_key?: string}} Peer */

/**
 * @param {FormData} form
 * @returns {Record<string, unknown> & {keys: string, peers: Peer[]}} the request, without the keys that this page makes
 */
export function request(form) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? '').trim();
  const keys = text('keys');
  if (keys === '') throw new Invalid('keys', 'choose who makes them');
  /** @type {Record<string, unknown> & {keys: string, peers: Peer[]}} */
  const made = {
    lifetime_secs: lifetime(text('lifetime'), text('lifetime_other')),
    keys: keys === 'gateway' ? 'gateway' : 'client',
    peers: peers(form, keys),
  };
  for (const name of ['place', 'region', 'size', 'ssh_key']) if (text(name)) made[name] = text(name);
  if (text('dns') === 'own') made.dns = [];
  if (text('dns') === 'custom') made.dns = servers(text('dns_custom'));
  if (text('traffic') === 'some') made.allowed_ips = networks(text('networks'));
  if (text('port')) made.port = number('port', text('port'), 1, 65535);
  if (text('mtu')) made.mtu = number('mtu', text('mtu'), 1280, 9000);
  if (text('idle_end')) made.idle_end_secs = number('idle_end_secs', text('idle_end'), 3, 1440) * 60;
  return made;
}

/** @param {string} choice @param {string} other @returns {number} seconds */
export function lifetime(choice, other) {
  if (choice !== 'other') return Number(choice);
  const secs = seconds(other);
  if (secs === null || secs === 0) {
    throw new Invalid('lifetime_secs', `“${other}” is no time; write minutes, or 2h 30min`);
  }
  return secs;
}

/** @param {FormData} form @param {string} keys @returns {Peer[]} */
function peers(form, keys) {
  const publicKeys = form.getAll('public_key').map((key) => String(key).trim());
  const names = form.getAll('device').map((name) => String(name).trim());
  return names.map((name, index) => {
    const problem = nameProblem(name, names.slice(0, index));
    if (problem) throw new Invalid(`peers[${index}].name`, problem);
    if (keys !== 'pasted') return { name };
    if (!isPublicKey(publicKeys[index] ?? '')) {
      throw new Invalid(
        `peers[${index}].public_key`,
        `the key of ${name} is not a WireGuard public key: 44 characters, as wg pubkey prints them`,
      );
    }
    return { name, public_key: publicKeys[index] };
  });
}

/** @param {string} name @param {string[]} others @returns {string} empty if it can be a device's name */
export function nameProblem(name, others) {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$/.test(name)) {
    return 'a device has a name of 1 to 15 letters, digits, - and _, the first a letter or a digit';
  }
  const isTaken = others.some((other) => other.toLowerCase() === name.toLowerCase());
  return isTaken ? `“${name}” is there twice` : '';
}

/** @param {string[]} taken @returns {string} a name that is free */
export function freeName(taken) {
  const isFree = (/** @type {string} */ name) => nameProblem(name, taken) === '';
  const usual = ['phone', 'laptop', 'tablet', 'desktop', 'tv'].find(isFree);
  for (let number = 2; ; number += 1) {
    const name = usual ?? `device-${number}`;
    if (isFree(name)) return name;
  }
}

/** @param {string} text @returns {string[]} */
function words(text) {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

/** @param {string} text @returns {string[]} */
function servers(text) {
  const found = words(text);
  if (found.length === 0) throw new Invalid('dns', 'names no server; write its address, or choose another way');
  return found;
}

/** @param {string} text @returns {string[]} */
function networks(text) {
  const found = words(text);
  if (found.length === 0) throw new Invalid('allowed_ips', 'names no network; write one a line, or choose Everything');
  return found.map((word) => {
    if (!/^[0-9a-fA-F:.]+(\/\d{1,3})?$/.test(word) || !/[.:]/.test(word)) {
      throw new Invalid('allowed_ips', `“${word}” is no network; write it as 192.168.1.0/24 or fd00::/64`);
    }
    if (word.includes('/')) return word;
    return word.includes(':') ? `${word}/128` : `${word}/32`;
  });
}

/** @param {string} field @param {string} text @param {number} least @param {number} most @returns {number} */
function number(field, text, least, most) {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most))
    throw new Invalid(field, `“${text}” is not a number between ${least} and ${most}`);
  return value;
}

/** What the form calls a field of the request. @param {string} field @returns {string} */
export function label(field) {
  /** @type {Record<string, string>} */
  const labels = {
    place: 'Place',
    region: 'Region',
    size: 'Size',
    lifetime_secs: 'Lifetime',
    idle_end_secs: 'End when idle',
    keys: 'Keys',
    peers: 'Devices',
    port: 'Port',
    dns: 'DNS',
    allowed_ips: 'Traffic',
    mtu: 'MTU',
    ssh_key: 'SSH key',
  };
  return labels[field.split(/[[.]/)[0]] ?? field;
}

/**
 * What will be launched, in a sentence.
 * @param {FormData} form
 * @returns {string}
 */
export function summary(form) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? '').trim();
  const names = form
    .getAll('device')
    .map((name) => String(name).trim())
    .filter((name) => name !== '');
  const secs = text('lifetime') === 'other' ? seconds(text('lifetime_other')) : Number(text('lifetime'));
  const many = names.length > 3 ? `${names.length} devices` : listed(names);
  const what = text('traffic') === 'some' ? 'Only some networks go through it.' : 'All traffic goes through it.';
  // A number stays with its unit.
  const time = secs ? ` for ${duration(secs).replaceAll(' ', '\u00a0')}` : '';
  return `A gateway on ${text('place')}${time}, for ${many || 'no device'}. ${what}`;
}

/** @param {string[]} names @returns {string} */
function listed(names) {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
