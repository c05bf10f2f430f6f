// The hub's API.

import { learn } from './clock.js';

/** Why something was not done. */
export class Problem extends Error {
  /**
   * @param {string} message what happened
   * @param {{status?: number, code?: string, field?: string, remedy?: string, retryAfter?: number | null}} [more]
   */
  constructor(message, more = {}) {
    super(message);
    this.status = more.status ?? 0;
    this.code = more.code ?? '';
    this.field = more.field ?? '';
    this.remedy = more.remedy ?? '';
    this.retryAfter = more.retryAfter ?? null;
  }

  /** Whether the hub may never have heard of it. */
  get isUnheard() {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/**
 * Asks the hub, and gives what it answers.
 * @param {string} method
 * @param {string} path below `/api/v1`
 * @param {unknown} [body]
 * @param {string} [idempotencyKey]
 * @returns {Promise<any>} JSON, or text where the hub answers text
 */
export async function call(method, path, body, idempotencyKey) {
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json, text/plain' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (idempotencyKey !== undefined) headers['Idempotency-Key'] = idempotencyKey;
  const token = document.querySelector('meta[name="csrf-token"]')?.getAttribute('content');
  if (token && method !== 'GET') headers['X-CSRF-Token'] = token;
  const asked = Date.now();
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const response = await fetch(`/api/v1${path}`, { ...options, credentials: 'same-origin', cache: 'no-store' }).catch(
    () => {
      throw new Problem('The hub cannot be reached.', { remedy: 'Look at your connection, and try again.' });
    },
  );
  learn(response.headers.get('Date'), asked, Date.now());
  const type = response.headers.get('Content-Type') ?? '';
  const answer = type.includes('json')
    ? await response.json().catch(() => null)
    : await response.text().catch(() => '');
  if (!response.ok) throw problem(response, answer);
  return answer;
}

/** @param {Response} response @param {any} answer @returns {Problem} */
function problem(response, answer) {
  const wait = Number(response.headers.get('Retry-After'));
  const retryAfter = Number.isFinite(wait) && wait > 0 ? wait : null;
  const { status } = response;
  if (typeof answer !== 'object' || answer === null) {
    return new Problem(`The hub answered ${status}.`, { status, retryAfter, remedy: 'Try again in a moment.' });
  }
  const signIn = status === 401 ? 'Sign in again in another tab, then try again here.' : undefined;
  const detail = String(answer.detail ?? answer.title ?? status);
  const prefix = `${answer.field}: `;
  const message = answer.field && detail.startsWith(prefix) ? detail.slice(prefix.length) : detail;
  return new Problem(message, {
    status,
    retryAfter,
    code: answer.code,
    field: answer.field,
    remedy: signIn ?? (answer.remedy === message ? '' : answer.remedy),
  });
}

/** @returns {string} a key under which a request may be sent again without being done twice */
export function idempotencyKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return [...random].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {string} text @returns {string} it as a sentence */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[\p{L}\p{N}`)]$/u.test(begun) ? `${begun}.` : begun;
}

/** @param {unknown} error @returns {string} what happened and what to do */
export function explained(error) {
  if (!(error instanceof Problem)) return `Something went wrong in this page: ${error}`;
  const wait = error.retryAfter === null ? '' : ` Try again in ${error.retryAfter} s.`;
  return `${sentence(error.message)} ${error.remedy ? sentence(error.remedy) : ''}${wait}`.trim();
}
