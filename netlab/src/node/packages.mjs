// Finds the packages of tests for whichever script imports them: Node itself looks beside the script only.
//
// Loaded by `node --import`: the program's own thread registers this file once more, as the hook that it is.

import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';

// A script in the folder of the packages would find them.
const beside = pathToFileURL(`${process.env.NETLAB_PACKAGES}/script.mjs`).href;

if (isMainThread) {
  register(import.meta.url);
}

export async function resolve(specifier, context, next) {
  const isName = /^[@a-z]/i.test(specifier) && !specifier.includes(':');
  const isScript = isName && !context.parentURL?.includes('/node_modules/');
  return next(specifier, isScript ? { ...context, parentURL: beside } : context);
}
