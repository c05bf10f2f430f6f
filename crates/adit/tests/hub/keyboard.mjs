// A person without a mouse: Tab, Enter and Space launch, read the configuration and end the gateway.

import assert from 'node:assert/strict';

import { visit } from './browser.mjs';

/// Most presses of Tab from one thing to another.
const MOST = 60;

/// Keeps what a screen reader is told.
const listen = () => {
  globalThis.heard = [];
  addEventListener('DOMContentLoaded', () => {
    const announcer = document.querySelector('#announcer');
    const hear = () => announcer.textContent && globalThis.heard.push(announcer.textContent);
    new MutationObserver(hear).observe(announcer, { childList: true, characterData: true, subtree: true });
  });
};

/// What has the focus, and what hinders a person from seeing that it has.
const focused = () => {
  const node = document.activeElement;
  const shown = node.closest('.choice, .pill') ?? node;
  const { outlineStyle, outlineWidth } = getComputedStyle(shown);
  const { left, top, width, height } = shown.getBoundingClientRect();
  // Of what is taller than the window, the part that is in it.
  const [from, to] = [Math.max(top, 0), Math.min(top + height, innerHeight)];
  const there = document.elementFromPoint(left + Math.min(width / 2, 8), (from + to) / 2);
  const hindrances = [];
  if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2) hindrances.push('no outline');
  if (to <= from) hindrances.push('out of sight');
  else if (!there || !(shown.contains(there) || there.contains(shown))) hindrances.push(`under ${there?.outerHTML}`);
  return { what: node.outerHTML.slice(0, 200), hindrances };
};

await visit(
  async ({ page, args, say, violations }) => {
    await page.addInitScript(listen);
    const has = (target) => target.evaluate((node) => node === document.activeElement);
    const press = (key) => page.keyboard.press(key);
    /// Goes on to something, and looks at every stop on the way.
    const reach = async (target, key = 'Tab') => {
      for (let count = 0; count < MOST; count += 1) {
        await press(key);
        const { what, hindrances } = await page.evaluate(focused);
        assert.deepEqual(hindrances, [], what);
        if ((await target.count()) === 1 && (await has(target))) return;
      }
      assert.fail(`${target} is not reached by ${MOST} presses of ${key}`);
    };
    const button = (name) => page.getByRole('button', { name });
    const until = (target) => target.waitFor({ timeout: 30_000 });

    await page.goto(args.link);
    await until(page.getByRole('radio', { name: 'Made in this browser' }));
    await press('Tab');
    assert.ok(await has(page.getByRole('link', { name: 'Skip to the content' })), 'the first stop leads past the menu');
    await press('Enter');
    await reach(page.getByRole('radio', { name: '30 min' }));
    await reach(button('Add a device'));
    await press('Enter');
    assert.ok(await has(page.getByRole('textbox', { name: 'Name' }).nth(1)), 'a new device is named at once');
    await reach(button('Remove laptop'));
    await press('Space');
    assert.ok(await has(page.getByRole('textbox', { name: 'Name' })), 'its neighbour has the focus after a removal');
    await reach(button('Launch').last());
    await press('Enter');

    await until(button('Show'));
    const title = page.locator('#title');
    assert.ok(await has(title), 'the title of what was launched has the focus');
    await reach(button('Show'));
    assert.equal(await button('Show').getAttribute('aria-expanded'), 'false');
    await press('Enter');
    const text = page.getByLabel('Configuration of phone', { exact: true });
    await until(text);
    assert.equal(await button('Show').getAttribute('aria-expanded'), 'true');
    await reach(text);
    assert.match(await text.textContent(), /^\[Interface\]\nPrivateKey = [A-Za-z0-9+/]{43}=$/m);
    assert.deepEqual(await violations(), [], 'axe on a configuration');
    const end = page.locator('summary', { hasText: 'End…' });
    await reach(end, 'Shift+Tab');
    await press('Enter');
    assert.ok(await has(end), 'a question leaves the focus where it is');
    await reach(button('End the gateway'));
    await press('Space');
    await until(page.getByText('Nothing of it is left'));
    assert.ok(await has(title), 'nothing that is gone has the focus');
    await reach(page.getByRole('link', { name: 'Launch again with the same choices' }));
    assert.deepEqual(await violations(), [], 'axe on what has ended');
    say(await page.evaluate(() => globalThis.heard));
  },
  // So low that the button to launch lies over the form.
  { viewport: { width: 800, height: 640 } },
);
