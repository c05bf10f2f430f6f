// Does with the driver's page what the test asks.

import { visit } from './browser.mjs';

await visit(async ({ page, context, args, say, expectProblem, screenshot, violations }) => {
  for (const pattern of args.expect ?? []) {
    expectProblem(new RegExp(pattern));
  }
  await page.goto(args.address);
  for (const wrong of args.wrong ?? []) {
    await (await context.newPage()).goto(`${args.address}#${wrong}`);
  }
  if (args.click) {
    await page.getByRole('button', { name: args.click }).click(args.limit ? { timeout: args.limit } : {});
    await page.waitForURL(`${args.back}**`);
    say(page.url());
  }
  if (args.words) {
    await page.getByLabel('Words').fill(args.words);
    await page.getByRole('button', { name: 'Send' }).click();
    const output = page.getByText('Received');
    say({ title: await page.title(), output: await output.textContent() });
    await screenshot('page');
  }
  if (args.audit) {
    say(await violations());
  }
});
