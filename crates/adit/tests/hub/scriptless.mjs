// A browser without scripts: nothing is chosen for the person who makes the keys, and everything can be done.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

await visit(
  async ({ page, args, expectProblem }) => {
    const launch = () => page.getByRole('button', { name: 'Launch', exact: true }).last().click();
    /// Looks again until it is there; the page would do so every three seconds.
    const until = async (target) => {
      for (let count = 0; count < 300 && !(await target.isVisible()); count += 1) await page.reload();
      await target.waitFor();
    };
    const radio = (name) => page.getByRole('radio', { name });
    await page.goto(args.link);
    await page.getByText('This page cannot make keys here').waitFor();
    assert.equal(await page.locator('[name="keys"]:checked').count(), 0, 'nothing is preselected');
    assert.ok(!(await radio('Made in this browser').isVisible()));
    // The browser itself asks for the choice.
    const address = page.url();
    await launch();
    assert.equal(await page.locator('[name="keys"]:invalid').count(), 2);
    assert.equal(page.url(), address);

    await page.getByRole('button', { name: 'Add a device' }).click();
    await page.getByRole('button', { name: 'Remove laptop' }).click();
    assert.equal(await page.locator('[name="keys"]:checked').count(), 0, 'nor by another button');
    expectProblem(/status of 422/);
    await radio('Made on the gateway').check();
    await page.getByRole('textbox', { name: 'Public key' }).fill(args.public);
    await launch();
    await page.getByRole('alert').getByText('is pasted, but the gateway is to make the keys').waitFor();
    assert.ok(await radio('Made on the gateway').isChecked(), 'the choice stays');
    await page.getByRole('textbox', { name: 'Public key' }).fill('');
    await launch();
    // The page asks again by itself until it is ready.
    await page.getByRole('button', { name: /^Hand over/ }).click({ timeout: 30_000 });
    const made = await page.getByLabel('Configuration of phone').textContent();
    assert.match(made, /^PrivateKey = [A-Za-z0-9+/]{43}=$/m);
    await page.getByRole('link', { name: 'To the gateway' }).click();
    await page.getByText('is handed over once').waitFor();
    assert.equal(await page.getByRole('button', { name: /^Hand over/ }).count(), 0);
    await page.locator('summary', { hasText: 'End…' }).click();
    await page.getByRole('button', { name: 'End the gateway' }).click();
    await until(page.getByText('Nothing of it is left'));

    await page.goto(new URL('/', address).href);
    await radio('I have my own').check();
    await page.getByRole('textbox', { name: 'Public key' }).fill(args.public);
    await launch();
    const configuration = page.getByText('Configuration without the private key', { exact: true });
    await until(configuration);
    await configuration.click();
    const open = await page.getByLabel('Configuration of phone without its private key').textContent();
    assert.ok(open.includes('PrivateKey = (your private key)\n'), open);
  },
  { javaScriptEnabled: false },
);
