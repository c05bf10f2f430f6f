// Clients' keys. A private key is in this module's memory and nowhere else: it goes when the page goes.

/** @typedef {{publicKey: string, privateKey: string}} Pair */

/** Private keys by their public ones. @type {Map<string, {privateKey: string, isTaken: boolean}>} */
const held = new Map();

/** Public keys that were pasted here: whoever did it has the private ones. @type {Set<string>} */
const pasted = new Set();

/** @param {string} publicKey */
export function notePasted(publicKey) {
  pasted.add(publicKey);
}

/** @param {string} publicKey @returns {boolean} */
export function wasPasted(publicKey) {
  return pasted.has(publicKey);
}

/** @type {Promise<boolean> | null} */
let isAble = null;

/** @returns {Promise<boolean>} whether this browser can make keys */
export function canMake() {
  isAble ??= generated().then(
    () => true,
    () => false,
  );
  return isAble;
}

/** Makes a pair and holds its private key. @returns {Promise<string>} the public key */
export async function make() {
  const { publicKey, privateKey } = pair(await generated());
  held.set(publicKey, { privateKey, isTaken: false });
  return publicKey;
}

/** @returns {Promise<JsonWebKey>} */
async function generated() {
  const made = await crypto.subtle.generateKey({ name: 'X25519' }, true, ['deriveBits']);
  if (!('privateKey' in made)) throw new Error('no pair');
  return crypto.subtle.exportKey('jwk', made.privateKey);
}

/**
 * A pair as WireGuard writes it. RFC 8037, section 2: `d` is the private key, `x` the public one.
 * @param {JsonWebKey} jwk
 * @returns {Pair}
 */
export function pair(jwk) {
  return { privateKey: base64(jwk.d ?? ''), publicKey: base64(jwk.x ?? '') };
}

/** @param {string} url 32 bytes in base64url @returns {string} in base64 */
export function base64(url) {
  if (!/^[A-Za-z0-9_-]{43}$/.test(url)) throw new Error('not 32 bytes in base64url');
  return url.replaceAll('-', '+').replaceAll('_', '/') + '=';
}

/** @param {string} text @returns {boolean} whether it is a public key as WireGuard writes it */
export function isPublicKey(text) {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text) && !/^A{43}=$/.test(text);
}

/** @param {string} publicKey @returns {string | null} the private key, if it is held */
export function privateKeyOf(publicKey) {
  return held.get(publicKey)?.privateKey ?? null;
}

/** Notes that its configuration was saved, copied or scanned. @param {string} publicKey */
export function take(publicKey) {
  const key = held.get(publicKey);
  if (key) key.isTaken = true;
}

/** Notes that its configuration has become another one, which nobody has taken. @param {string} publicKey */
export function untake(publicKey) {
  const key = held.get(publicKey);
  if (key) key.isTaken = false;
}

/** @param {string} publicKey @returns {boolean} */
export function isTaken(publicKey) {
  return held.get(publicKey)?.isTaken ?? false;
}

/** @param {Iterable<string>} publicKeys */
export function forget(publicKeys) {
  for (const publicKey of publicKeys) held.delete(publicKey);
}

/** @returns {boolean} whether leaving the page would lose a key that nobody has taken */
export function hasUntaken() {
  return [...held.values()].some((key) => !key.isTaken);
}
