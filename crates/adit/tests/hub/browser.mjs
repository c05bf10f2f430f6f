// Drives headless Chromium for the scripts of tests, records what goes over the network, and finds what pages do wrong.
//
// A script is a visit:
//
//   import assert from 'node:assert/strict';
//   import { visit } from './browser.mjs';
//
//   await visit(async ({ page, args, say, screenshot, violations }) => {
//     await page.goto(args.address);
//     await screenshot('start');
//     assert.deepEqual(await violations(), []);
//     say({ title: await page.title() });
//   });
//
// `page` and `context` are Playwright's. A visit fails where the script throws, and where a page of it had an error of
// its own, wrote one to the console, crashed, or had something blocked or reported by its Content-Security-Policy.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

import { Recorder, sent } from './recorder.mjs';

/// What keeps Chromium to the pages that it is shown.
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // All that these leave are its makers' servers for accounts and updates, which it asks as it starts.
  `--host-resolver-rules=${['google.com', 'googleapis.com', 'gstatic.com'].map((name) => `MAP *.${name} ~NOTFOUND`)}`,
];

/// Runs `task` with a browser that knows nothing yet, and ends the program: with 0 if nothing was wrong.
///
/// `options` are those of Playwright's `newContext`, such as `{ viewport, colorScheme, javaScriptEnabled }`.
export async function visit(task, options = {}) {
  const { args, chromium: program, folder, profile, slowness } = JSON.parse(await text(process.stdin));
  mkdirSync(profile, { recursive: true });
  const recorder = new Recorder(join(folder, 'network.jsonl'));
  const problems = new Problems();
  const failures = [];
  // Chromium's own record has what Playwright's events leave out: every byte of every socket.
  const netlog = join(folder, 'netlog.json');
  const browser = await chromium.launch({
    executablePath: program,
    chromiumSandbox: false,
    args: [...QUIET, `--log-net-log=${netlog}`, '--net-log-capture-mode=Everything'],
    // Playwright makes an empty folder for the user's data below TMPDIR, and removes it.
    env: { ...process.env, HOME: profile, TMPDIR: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
  });
  try {
    /// A further user: a context without the first one's cookies and storage.
    const another = async (options = {}) => {
      const context = await browser.newContext(options);
      context.setDefaultTimeout(10_000 * slowness);
      recorder.watch(context);
      problems.watch(context);
      return context;
    };
    const context = await another(options);
    const page = await context.newPage();
    await task({
      browser,
      context,
      page,
      args,
      another,
      say: (value) => process.stdout.write(`${JSON.stringify(value)}\n`),
      expectProblem: (pattern) => problems.expect(pattern),
      /// Gives the file of the picture.
      screenshot: async (name, of = page, options = { fullPage: true }) => {
        const path = join(folder, `${name}.png`);
        await of.screenshot({ path, ...options });
        return path;
      },
      violations: (of = page, rules = {}) => violations(of, rules),
    });
    await problems.settle(browser);
  } catch (error) {
    failures.push(error.stack);
  }
  await recorder.close();
  await browser.close();
  writeFileSync(join(folder, 'sent.bin'), sent(JSON.parse(readFileSync(netlog, 'utf8'))));
  failures.push(...problems.found());
  for (const failure of failures) {
    process.stderr.write(`${failure}\n`);
  }
  process.exit(failures.length === 0 ? 0 : 1);
}

/// What axe-core finds wrong with how accessible `page` is: rule, how grave, what, and where.
async function violations(page, rules) {
  // Evaluated by the debugger, which no policy of the page's forbids.
  await page.evaluate(axe.source);
  const found = await page.evaluate(
    (rules) => globalThis.axe.run(document, { preload: false, resultTypes: ['violations'], ...rules }),
    rules,
  );
  return found.violations.map(({ id, impact, help, nodes }) => ({
    id,
    impact,
    help,
    where: nodes.map((node) => node.target.join(' ')),
  }));
}

/// What pages did wrong.
class Problems {
  #found = [];
  #expected = [];
  #sessions = [];

  /// Lets problems be whose description matches; there has to be one.
  expect(pattern) {
    this.#expected.push(pattern);
  }

  watch(context) {
    const add = (kind, what, where) => this.#found.push(`${kind}: ${what} (${where})`);
    context.on('weberror', (web) => {
      const error = web.error();
      add('page error', error?.stack ?? error, web.page()?.url());
    });
    context.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'assert') {
        const { url, lineNumber } = message.location();
        add('console error', message.text(), `${url || message.page()?.url()}:${lineNumber}`);
      }
    });
    context.on('page', (page) => {
      page.on('crash', () => add('crash', 'the page is gone', page.url()));
      this.#sessions.push(this.#audit(context, page, add));
    });
  }

  /// Hears of what a policy blocks or only reports, from Chromium itself.
  async #audit(context, page, add) {
    const session = await context.newCDPSession(page);
    session.on('Audits.issueAdded', ({ issue }) => {
      const policy = issue.details.contentSecurityPolicyIssueDetails;
      if (policy) {
        const { violatedDirective, blockedURL, sourceCodeLocation: at, isReportOnly } = policy;
        const done = isReportOnly ? 'reports' : 'blocks';
        const where = at ? `${at.url}:${at.lineNumber + 1}` : page.url();
        const what = blockedURL ?? policy.contentSecurityPolicyViolationType;
        add('policy', `the Content Security Policy ${violatedDirective} ${done} ${what}`, where);
      }
    });
    await session.send('Audits.enable');
  }

  /// Waits until what has happened in pages has been told.
  async settle(browser) {
    await Promise.allSettled(this.#sessions);
    const pages = browser.contexts().flatMap((context) => context.pages());
    const frame = (page) => page.evaluate(() => new Promise(requestAnimationFrame));
    // A page without scripts, or under a dialog, draws no frame that anyone hears of.
    const limit = (page) => Promise.race([frame(page), new Promise((late) => setTimeout(late, 500))]);
    await Promise.allSettled(pages.map(limit));
  }

  /// All that nobody expected, and what was expected in vain.
  found() {
    const missing = this.#expected.filter((pattern) => !this.#found.some((problem) => pattern.test(problem)));
    return [
      ...this.#found.filter((problem) => !this.#expected.some((pattern) => pattern.test(problem))),
      ...missing.map((pattern) => `expected in vain: ${pattern}`),
    ];
  }
}
