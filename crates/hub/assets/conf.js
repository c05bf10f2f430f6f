// Configurations: the private key is put in here, in the browser.

/** Stands where the private key belongs. */
export const PLACE_OF_KEY = '{{PRIVATE_KEY}}';

/**
 * @param {string} text a configuration without its private key
 * @param {string} privateKey
 * @returns {string}
 */
export function fill(text, privateKey) {
  const parts = text.split(PLACE_OF_KEY);
  if (parts.length !== 2) throw new Error('the configuration has no place for the private key');
  return parts.join(privateKey);
}

/**
 * WireGuard's clients take a file's name for the tunnel's: at most 15 letters of a few kinds.
 * @param {string} device
 * @returns {string}
 */
export function fileName(device) {
  const safe = device
    .replaceAll(/[^A-Za-z0-9_=+.-]/g, '')
    .replace(/^\.+/, '')
    .slice(0, 15);
  return `${safe || 'adit'}.conf`;
}
