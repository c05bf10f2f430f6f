// A person launches a gateway with one click, saves the configuration, sees the handshake, and ends it.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

await visit(
  async ({ page, another, args, say, screenshot, violations }) => {
    const pictures = [];
    const picture = async (name) => {
      assert.deepEqual(await violations(), [], `axe on ${name}`);
      await screenshot(name);
      pictures.push(name);
    };
    await page.goto(args.link);
    assert.ok(!page.url().includes('token'), 'the token leaves the address bar');
    await page.getByRole('heading', { name: 'Launch a gateway' }).waitFor();
    await picture('launch');
    await page.getByRole('button', { name: 'Launch', exact: true }).last().click();
    const download = page.getByRole('button', { name: /^Download/ });
    await download.waitFor({ timeout: 30_000 });
    await page.getByRole('button', { name: 'QR code' }).click();
    await page.locator('[data-qr] svg').waitFor();
    await page.getByRole('button', { name: 'QR code' }).click();
    const [saved] = await Promise.all([page.waitForEvent('download'), download.click()]);
    assert.equal(saved.suggestedFilename(), 'phone.conf');
    await saved.saveAs(args.saved);
    await page.getByText('Connected.', { exact: true }).waitFor({ timeout: 60_000 });
    await picture('lease');
    // The same page on a phone, in the dark.
    const state = await page.context().storageState();
    const phone = await another({ storageState: state, viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
    const small = await phone.newPage();
    await small.goto(page.url());
    await small.getByText('Connected.', { exact: true }).waitFor();
    assert.deepEqual(await violations(small), [], 'axe on a phone');
    const width = await small.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `nothing is cut off on a phone: ${width}`);
    await screenshot('phone', small);
    pictures.push('phone');
    await phone.close();
    // Without scripts everything can be read.
    const plain = await another({ storageState: state, javaScriptEnabled: false });
    const read = await plain.newPage();
    await read.goto(page.url());
    await read.getByText('Connected.', { exact: true }).waitFor();
    await plain.close();
    for (const [path, name] of [['/history', 'history'], ['/tokens', 'tokens'], ['/admin', 'admin'], ['/admin/audit', 'audit']]) {
      const other = await page.context().newPage();
      await other.goto(new URL(path, page.url()).href);
      assert.deepEqual(await violations(other), [], `axe on ${name}`);
      await screenshot(name, other);
      pictures.push(name);
      await other.close();
    }
    await page.locator('summary', { hasText: 'End…' }).first().click();
    await page.getByRole('button', { name: 'End the gateway' }).first().click();
    await page.getByText('Nothing of it is left').waitFor({ timeout: 30_000 });
    say({ pictures });
  },
  { viewport: { width: 1100, height: 900 } },
);
