// Looks at every page in each of its states: by axe in light and in dark, for its width on a phone, and for the guide.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

const DESK = { width: 1100, height: 900 };
const PHONE = { width: 360, height: 740 };

/// Most of a page that a picture shows, in pixels.
const TALLEST = 1500;

await visit(
  async ({ page, another, args, say, screenshot, violations, expectProblem }) => {
    const pictures = [];
    const taken = async (name, file) => {
      pictures.push(name);
      if (args.shrinks) (await import('./png.mjs')).shrink(file);
    };
    page.on('dialog', (dialog) => dialog.accept());

    /// Fails where the page cannot be read by somebody, and leaves it as it was.
    const look = async (where) => {
      assert.deepEqual(await violations(), [], `axe on ${where}`);
      await page.emulateMedia({ colorScheme: 'dark' });
      assert.deepEqual(await violations(page, { runOnly: ['color-contrast'] }), [], `axe on ${where} in the dark`);
      await page.emulateMedia({ colorScheme: 'light' });
      await page.setViewportSize(PHONE);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= PHONE.width, `${where} is cut off on a phone: ${width}`);
      await page.setViewportSize(DESK);
    };
    const tall = () => page.evaluate(() => document.documentElement.scrollHeight);
    /// Of the page from `top` on, and of a part of it only if that has a `height`.
    const picture = async (name, { top = 0, height = TALLEST, dark = false } = {}) => {
      // Neither a ring nor the mouse's place tells where the last step was.
      await page.evaluate(() => document.activeElement?.blur());
      await page.mouse.move(0, 0);
      if (dark) await page.emulateMedia({ colorScheme: 'dark' });
      const clip = { x: 0, y: top, width: DESK.width, height: Math.min(height, (await tall()) - top) };
      await taken(name, await screenshot(name, page, { fullPage: true, clip }));
      if (dark) await page.emulateMedia({ colorScheme: 'light' });
    };
    const button = (name) => page.getByRole('button', { name });
    const until = (target) => target.waitFor({ timeout: 30_000 });
    const launch = () => button('Launch').last().click();
    const open = (path) => page.goto(new URL(path, args.link).href);

    await open('/login');
    await look('the sign-in page');
    await picture('sign-in');
    await page.goto(args.link);
    await until(page.getByRole('radio', { name: 'Made in this browser' }));
    await look('the launch page');
    await picture('launch');
    await picture('launch-dark', { dark: true });

    await page.getByText('More options').click();
    await page.getByRole('radio', { name: 'Other', exact: true }).check();
    await page.getByLabel('Other lifetime').fill('soon');
    await launch();
    await until(page.getByText('is no time'));
    await look('a refusal');
    await page.getByRole('radio', { name: '30 min' }).check();

    await launch();
    await until(page.locator('.step.current', { hasText: 'Provisioning' }));
    await picture('progress');
    // Out of reach of the hub the page stays as it is, and goes on afterwards.
    await page.context().setOffline(true);
    expectProblem(/ERR_INTERNET_DISCONNECTED/);
    await page.evaluate(() => fetch('/').catch(() => {}));
    await look('progress');
    await page.context().setOffline(false);
    await until(button(/^Download/));
    await look('a gateway');
    await button('QR code').click();
    await button('Show').click();
    await look('a configuration');
    const first = page.url();
    await picture('lease');
    await picture('lease-dark', { dark: true });
    // On a phone, which has pixels half as large.
    const storageState = await page.context().storageState();
    const phone = await another({
      storageState,
      viewport: PHONE,
      deviceScaleFactor: 2,
      colorScheme: 'dark',
      locale: 'en-GB',
      timezoneId: 'UTC',
    });
    const small = await phone.newPage();
    await small.goto(first);
    await small.getByText('left, until').waitFor();
    assert.deepEqual(await violations(small), [], 'axe on a phone');
    await taken('phone', await screenshot('phone', small, {}));
    await phone.close();

    await open('/');
    await button('Add a device').click();
    await page.getByRole('radio', { name: '2 h' }).check();
    await launch();
    await until(button(/^Download laptop/));
    await open('/');
    const list = page.locator('#running');
    await until(list.getByRole('link', { name: 'phone, laptop' }));
    await look('the list of gateways');
    const { y } = await list.boundingBox();
    await picture('gateways', { top: Math.round(y + (await page.evaluate(() => scrollY))) - 32 });

    await page.goto(first);
    await page.locator('summary', { hasText: 'End…' }).click();
    await look('a question');
    await button('End the gateway').click();
    await until(page.getByText('Nothing of it is left'));
    await look('what has ended');
    await picture('ended');

    await open('/');
    await page.getByRole('radio', { name: 'docker' }).check();
    await launch();
    await until(page.getByText('What to do:'));
    await until(page.getByRole('link', { name: 'Launch again with the same choices' }));
    await look('what has failed');
    await picture('failed');

    for (const [path, name] of [['/history', 'history'], ['/tokens', 'tokens'], ['/admin', 'admin'], ['/admin/audit', 'audit']]) {
      await open(path);
      await look(name);
      await picture(name);
    }

    expectProblem(/status of 404/);
    await open('/leases/none');
    await until(page.getByRole('heading', { name: 'Not here' }));
    await look('a page that is none');
    // Whoever asks too often is told when to come again, and is let in then.
    expectProblem(/status of 429/);
    let isEnough = false;
    const ask = async () => (await page.request.get(new URL('/api/v1/me', args.link).href)).status();
    const storm = async () => {
      while (!isEnough) await ask();
    };
    while ((await ask()) !== 429);
    // Five a second are let in again: the page must not be one of them.
    const storms = [storm(), storm(), storm(), storm()];
    await open('/history');
    await until(page.getByRole('heading', { name: 'Too much at once' }));
    isEnough = true;
    await Promise.all(storms);
    await look('an error');
    await picture('error');
    await page.getByRole('link', { name: 'Try again' }).click();
    assert.equal(new URL(page.url()).pathname, '/history');
    say({ pictures });
  },
  { viewport: DESK, locale: 'en-GB', timezoneId: 'UTC' },
);
