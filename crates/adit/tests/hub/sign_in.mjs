// A person signs in by OpenID Connect, launches, and signs out; what was shown is not shown again.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

await visit(
  async ({ page, context, another, args, expectProblem, violations }) => {
    page.on('dialog', (dialog) => dialog.accept());
    const button = (name) => page.getByRole('button', { name });
    await page.goto(`${args.address}/history`);
    assert.equal(new URL(page.url()).pathname, '/login');
    assert.deepEqual(await violations(), [], 'axe on the sign-in page');
    await page.getByRole('link', { name: /^Sign in with/ }).click();
    await button('Sign in as Alice').click();
    await page.waitForURL(`${args.address}/history`);
    await page.getByText('Alice').waitFor();
    const cookies = await context.cookies(args.address);
    const session = cookies.find(({ name }) => name === '__Host-adit');
    assert.ok(session?.secure && session.httpOnly && session.sameSite !== 'None', JSON.stringify(cookies));

    await page.getByRole('link', { name: 'Launch', exact: true }).click();
    await button('Launch').last().click();
    await button(/^Download/).waitFor({ timeout: 30_000 });
    const lease = page.url();

    // Somebody else who has signed in finds nothing of it.
    const stranger = await another({ ignoreHTTPSErrors: true });
    const theirs = await stranger.newPage();
    await theirs.goto(lease);
    await theirs.getByRole('link', { name: /^Sign in with/ }).click();
    await theirs.getByRole('button', { name: 'Sign in as Bob' }).click();
    await theirs.getByRole('heading', { name: 'Not here' }).waitFor();
    assert.deepEqual(await violations(theirs), [], 'axe on an error');
    await stranger.close();

    await button('Sign out').click();
    await page.waitForURL((url) => url.origin === new URL(args.issuer).origin);
    await button('Sign out').click();
    await page.waitForURL(`${args.address}/login**`);
    for (let count = 0; count < 8; count += 1) {
      if ((await page.goBack()) === null) break;
      const shown = await page.locator('body').innerText();
      for (const secret of ['Alice', 'Download', 'How to connect', 'Running gateways']) {
        assert.ok(!shown.includes(secret) || page.url().startsWith(args.issuer), `${page.url()} shows ${secret}`);
      }
    }
    // Nor does the cookie of then open anything.
    await context.clearCookies();
    await context.addCookies([session]);
    await page.goto(lease);
    assert.equal(new URL(page.url()).pathname, '/login');
    const { pathname } = new URL(lease);
    const answer = await context.request.get(`${args.address}/api/v1${pathname}`);
    assert.equal(answer.status(), 401);
    // The stranger's page was none, and the provider's way back leads nowhere: the console has both.
    expectProblem(/status of 40[04]/);
  },
  { ignoreHTTPSErrors: true },
);
