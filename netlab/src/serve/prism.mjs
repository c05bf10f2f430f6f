// Stands between a client and a server, and compares what they say with descriptions of the API: npm's prism.
//
// Reads JSON, a line, from standard input: `upstream`; `file` for what it makes; `described`, each a `file` and the `paths`
// of it that are wanted, as a regular expression; `open`, paths that are described nowhere and pass. Goes on until its
// input ends, and says on standard output what prism says.

import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const METHODS = ['get', 'put', 'post', 'patch', 'delete', 'head'];

// One description of several: their components get a prefix, since they use the same names.
function join({ described, open }) {
  const whole = { openapi: '3.0.0', info: { title: 'All', version: '1' }, paths: {}, components: {} };
  described.forEach(({ file, paths }, index) => {
    const text = readFileSync(file, 'utf8').replaceAll(/"#\/components\/(\w+)\//g, `"#/components/$1/of${index}.`);
    const { paths: all, components } = JSON.parse(text, (key, value) => (key.startsWith('x-ms-') ? undefined : value));
    const wanted = new RegExp(paths);
    for (const [path, operations] of Object.entries(all).filter(([path]) => wanted.test(path))) {
      // What one version does at once, the next may take its time for (ARM RPC: asynchronous operations).
      for (const method of ['delete', 'post']) {
        if (operations[method]) operations[method].responses['202'] ??= { description: 'Accepted' };
      }
      whole.paths[path] = { ...whole.paths[path], ...operations };
    }
    for (const [kind, named] of Object.entries(components ?? {})) {
      whole.components[kind] ??= {};
      for (const [name, value] of Object.entries(named)) whole.components[kind][`of${index}.${name}`] = value;
    }
  });
  for (const path of open) {
    const parameters = [...path.matchAll(/{(\w+)}/g)].map(([, name]) => ({
      name, in: 'path', required: true, schema: { type: 'string' },
    }));
    const responses = { default: { description: 'anything' } };
    const content = { 'application/json': { schema: {} }, 'application/x-www-form-urlencoded': { schema: {} } };
    const operation = (method) => (['put', 'post', 'patch'].includes(method)
      ? { parameters, responses, requestBody: { content } }
      : { parameters, responses });
    whole.paths[path] ??= Object.fromEntries(METHODS.map((method) => [method, operation(method)]));
  }
  return whole;
}

const lines = createInterface({ input: process.stdin });
lines.once('line', async (line) => {
  const settings = JSON.parse(line);
  writeFileSync(settings.file, JSON.stringify(join(settings)));
  lines.on('close', () => process.exit(0));
  process.argv = [
    process.argv[0], 'prism', 'proxy', '--errors', '--verboseLevel', 'info', '-h', '127.0.0.1', '-p', String(settings.port),
    settings.file, settings.upstream,
  ];
  await import('@stoplight/prism-cli/dist/index.js');
});
