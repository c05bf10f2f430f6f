// A person launches a gateway with one click, saves the configuration, sees the handshake, and ends it.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

await visit(async ({ page, args }) => {
  await page.goto(args.link);
  assert.ok(!page.url().includes('token'), 'the token leaves the address bar');
  await page.getByRole('heading', { name: 'Launch a gateway' }).waitFor();
  assert.ok(await page.getByRole('radio', { name: args.place }).isChecked());
  await page.getByRole('button', { name: 'Launch', exact: true }).last().click();
  const download = page.getByRole('button', { name: /^Download/ });
  await download.waitFor({ timeout: 30_000 });
  await page.getByRole('button', { name: 'QR code' }).click();
  await page.locator('[data-qr] svg').waitFor();
  const [saved] = await Promise.all([page.waitForEvent('download'), download.click()]);
  assert.equal(saved.suggestedFilename(), 'phone.conf');
  await saved.saveAs(args.saved);
  await page.getByText('Connected.', { exact: true }).waitFor({ timeout: 60_000 });
  await page.locator('summary', { hasText: 'End…' }).click();
  await page.getByRole('button', { name: 'End the gateway' }).click();
  await page.getByText('Nothing of it is left').waitFor({ timeout: 30_000 });
});
