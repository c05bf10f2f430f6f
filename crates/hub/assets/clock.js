// The server's clock, by which leases end.

/** What the server's clock is ahead of this machine's, in milliseconds. */
let ahead = 0;

/**
 * Learns from the `Date` of an answer, which tells whole seconds. A difference below two seconds is none.
 * @param {string | null} date
 * @param {number} asked milliseconds since 1970, when the question was sent
 * @param {number} answered when the answer came
 */
export function learn(date, asked, answered) {
  const told = Date.parse(date ?? '');
  if (Number.isNaN(told)) return;
  const difference = told + 500 - (asked + answered) / 2;
  ahead = Math.abs(difference) < 2000 + (answered - asked) / 2 ? 0 : difference;
}

/** @returns {number} milliseconds since 1970 by the server's clock */
export function now() {
  return Date.now() + ahead;
}
