// A browser that makes no keys: the page says so, and takes the public key of a pair that was made elsewhere.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';

import { visit } from './browser.mjs';

/// What a page finds that came by plain HTTP from elsewhere.
const insecure = () => {
  Object.defineProperty(globalThis, 'isSecureContext', { get: () => false });
  Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined });
  Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined });
};

/// What a page finds in a browser that does not know X25519.
const old = () => {
  // The empty page that comes first has none.
  if (!globalThis.SubtleCrypto) return;
  SubtleCrypto.prototype.generateKey = () => Promise.reject(new DOMException('unknown algorithm', 'NotSupportedError'));
};

await visit(async ({ another, args, violations }) => {
  const open = async (script, options = {}) => {
    const context = await another(options);
    await context.addInitScript(script);
    const page = await context.newPage();
    await page.goto(args.link);
    await page.getByText('This browser cannot make keys.').waitFor();
    assert.ok(!(await page.getByRole('radio', { name: 'Made in this browser' }).isVisible()));
    assert.ok(!(await page.getByText('Your private keys are made in this browser').isVisible()));
    assert.ok(await page.getByRole('radio', { name: 'I have my own' }).isChecked());
    assert.deepEqual(await violations(page), [], 'axe where no keys are made');
    return page;
  };
  const launch = (page) => page.getByRole('button', { name: 'Launch', exact: true }).last().click();

  const page = await open(insecure, { viewport: { width: 360, height: 740 } });
  await page.getByText('only on pages that come by HTTPS').waitFor();
  await launch(page);
  const problem = page.getByRole('alert');
  await problem.getByText('The key of phone is not a WireGuard public key').waitFor();
  const field = page.getByRole('textbox', { name: 'Public key' });
  assert.equal(await field.getAttribute('aria-invalid'), 'true');
  assert.deepEqual(await violations(page), [], 'axe on a refusal');
  await field.fill(args.public);
  await launch(page);
  // Nothing is to be made here, and the page says how to go on.
  const text = page.getByLabel('Configuration of phone without its private key');
  await text.waitFor({ timeout: 30_000 });
  assert.ok((await text.textContent()).includes('PrivateKey = (your private key)\n'));
  assert.ok(!(await page.getByRole('button', { name: /Make a new key/ }).isVisible()));
  assert.deepEqual(await violations(page), [], 'axe on a configuration without its key');
  await page.getByRole('button', { name: /^Copy/ }).click();
  assert.equal(await page.evaluate(() => String(getSelection())), (await text.textContent()).trimEnd());
  const download = page.getByRole('button', { name: /^Download/ });
  const [saved] = await Promise.all([page.waitForEvent('download'), download.click()]);
  assert.equal(saved.suggestedFilename(), 'phone.conf');
  await saved.saveAs(args.saved);
  writeFileSync(args.command, await page.getByLabel('Command that puts the private key in').textContent());
  await page.getByText('Connected.', { exact: true }).waitFor({ timeout: 60_000 });
  await page.context().close();

  const other = await open(old);
  await other.getByText('It is too old to offer X25519.').waitFor();
  await other.getByRole('radio', { name: 'Made on the gateway' }).check();
  await launch(other);
  await other.getByRole('button', { name: /^Hand over/ }).click({ timeout: 30_000 });
  await other.getByRole('button', { name: 'Show' }).click();
  assert.match(await other.locator('[data-conf]').textContent(), /^PrivateKey = [A-Za-z0-9+/]{43}=$/m);
  assert.deepEqual(await violations(other), [], 'axe on what was handed over');
});
