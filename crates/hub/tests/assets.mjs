// What the pages' modules compute, without a browser. `node assets.mjs FOLDER` fails where something is wrong.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;

// Node takes a file for a module by the package beside it, and the assets' folder has none.
const folder = mkdtempSync(join(tmpdir(), 'assets-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
for (const name of readdirSync(process.argv[2])) copyFileSync(join(process.argv[2], name), join(folder, name));
const load = (name) => import(pathToFileURL(join(folder, name)));

const words = await load('words.js');
const keys = await load('keys.js');
const conf = await load('conf.js');
const plot = await load('plot.js');
const request = await load('request.js');
const clock = await load('clock.js');
const qr = await load('qr.js');
const { generate, correction } = await load('lean-qr.js');

test('durations are said as the server says them', () => {
  const cases = [
    [0, '0 s'],
    [45, '45 s'],
    [60, '1 min'],
    [95, '1 min 35 s'],
    [1800, '30 min'],
    [3600, '1 h'],
    [5400, '1 h 30 min'],
    [86400, '1 day'],
    [97300, '1 day 3 h'],
    [172800, '2 days'],
    [-3, '0 s'],
  ];
  for (const [secs, text] of cases) assert.equal(words.duration(secs), text);
});

test('a countdown shows seconds and ends at zero', () => {
  const cases = [
    [245, '4:05'],
    [1799.2, '30:00'],
    [3600, '1:00:00'],
    [90000, '1 day 1 h'],
    [0.4, '0:01'],
    [-1, '0:00'],
  ];
  for (const [secs, text] of cases) assert.equal(words.countdown(secs), text);
});

test('sizes are said as the server says them', () => {
  const cases = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1299, '1.2 kB'],
    [34567890, '34 MB'],
    [1e12, '1.0 TB'],
  ];
  for (const [count, text] of cases) assert.equal(words.bytes(count), text);
  assert.equal(words.rate(1_234_567), '1.2 Mbit/s');
});

test('a lifetime is read as people write it', () => {
  const cases = [
    ['45', 2700],
    ['45 min', 2700],
    ['2h', 7200],
    ['2h 30m', 9000],
    ['1 hour 5 minutes', 3900],
    ['1 day', 86400],
    ['90s', 90],
    ['', null],
    ['soon', null],
    ['2 weeks', null],
    ['-5', null],
    ['2h x', null],
  ];
  for (const [text, secs] of cases) assert.equal(words.seconds(text), secs, text);
});

test('the server’s clock counts where it differs, and small differences do not', () => {
  const noon = Date.parse('2026-11-18T12:00:00Z');
  const skew = (date, asked, answered) => {
    clock.learn(date, asked, answered);
    return Math.round((clock.now() - Date.now()) / 1000);
  };
  assert.equal(skew('Wed, 18 Nov 2026 12:00:00 GMT', noon, noon + 40), 0);
  assert.equal(skew('Wed, 18 Nov 2026 12:10:00 GMT', noon, noon), 601);
  assert.equal(skew('nonsense', noon, noon), 601);
  assert.equal(skew('Wed, 18 Nov 2026 12:00:01 GMT', noon, noon + 500), 0);
});

test('a pair is written as WireGuard writes it', () => {
  const [d, x] = [Buffer.alloc(32, 0xfb), Buffer.alloc(32, 0xff)];
  const made = keys.pair({ d: d.toString('base64url'), x: x.toString('base64url') });
  assert.deepEqual(made, { privateKey: d.toString('base64'), publicKey: x.toString('base64') });
  assert.throws(() => keys.base64('too-short'));
  assert.throws(() => keys.base64(`${'A'.repeat(42)}+`));
});

test('a private key stays until it is forgotten, and is missed until it is taken', async (t) => {
  if (!(await keys.canMake())) return t.skip('this Node makes no X25519 keys');
  const publicKey = await keys.make();
  assert.ok(keys.isPublicKey(publicKey));
  const privateKey = keys.privateKeyOf(publicKey);
  assert.notEqual(privateKey, publicKey);
  const d = Buffer.from(privateKey, 'base64').toString('base64url');
  const x = Buffer.from(publicKey, 'base64').toString('base64url');
  await crypto.subtle.importKey('jwk', { kty: 'OKP', crv: 'X25519', d, x }, 'X25519', true, ['deriveBits']);
  assert.ok(keys.hasUntaken());
  keys.take(publicKey);
  assert.ok(keys.isTaken(publicKey) && !keys.hasUntaken());
  keys.forget([publicKey]);
  assert.equal(keys.privateKeyOf(publicKey), null);
});

test('a public key is one that WireGuard takes', () => {
  const valid = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
  const wrong = [
    '',
    valid.slice(0, -1),
    `${valid}=`,
    valid.replace('g=', 'h='),
    valid.replace('x', ' '),
    `${'A'.repeat(43)}=`,
    `${valid}\n`,
  ];
  assert.ok(keys.isPublicKey(valid));
  for (const text of wrong) assert.ok(!keys.isPublicKey(text), JSON.stringify(text));
});

test('a configuration gets its private key once, or none comes of it', () => {
  const text = '[Interface]\nPrivateKey = {{PRIVATE_KEY}} # SAMPLE, not a gateway\n';
  assert.equal(conf.fill(text, '$&'), '[Interface]\nPrivateKey = $& # SAMPLE, not a gateway\n');
  assert.throws(() => conf.fill('[Interface]\n', 'key'));
  assert.throws(() => conf.fill(text + text, 'key'));
});

test('a file has a name that WireGuard’s clients take for a tunnel’s', () => {
  const cases = [
    ['phone', 'phone.conf'],
    ['a'.repeat(20), `${'a'.repeat(15)}.conf`],
    ['../../x', 'x.conf'],
    ['', 'adit.conf'],
    ['ä b', 'b.conf'],
  ];
  for (const [device, name] of cases) assert.equal(conf.fileName(device), name);
});

test('a plot shows what flowed between samples', () => {
  const sample = (second, received, sent) => ({
    at: new Date(second * 1000).toISOString(),
    received_bytes: received,
    sent_bytes: sent,
  });
  const rates = plot.rates([sample(0, 0, 0), sample(5, 1000, 5000), sample(5, 9, 9), sample(10, 1000, 2500)]);
  assert.deepEqual(
    rates.map(({ down, up }) => [down, up]),
    [
      [8000, 1600],
      [4000, 1585.6],
    ].map((pair, index) => (index ? [((2500 - 9) * 8) / 5, ((1000 - 9) * 8) / 5] : pair)),
  );
  assert.equal(plot.rates([sample(0, 5, 5)]).length, 0);
  const restarted = plot.rates([sample(0, 1000, 1000), sample(1, 10, 20)]);
  assert.deepEqual([restarted[0].up, restarted[0].down], [80, 160]);
  assert.match(plot.words(rates), /To devices: 3\.9 kbit\/s at present, 8\.0 kbit\/s at most/);
  assert.equal(plot.words([]), 'No traffic has been measured yet.');
});

test('an axis ends a little above what it shows', () => {
  const cases = [
    [0, 1000],
    [1001, 2000],
    [3_100_000, 4_000_000],
    [7e6, 8e6],
    [9.5e6, 1e7],
    [1e7, 1e7],
  ];
  for (const [most, end] of cases) assert.equal(plot.top(most), end);
});

const form = (fields) => {
  const data = new FormData();
  const usual = [
    ['place', 'local'],
    ['lifetime', '1800'],
    ['device', 'phone'],
    ['public_key', ''],
    ['keys', 'browser'],
    ['dns', 'gateway'],
    ['traffic', 'all'],
  ];
  for (const [name, value] of [...usual.filter(([name]) => !fields.some(([other]) => other === name)), ...fields])
    data.append(name, value);
  return data;
};

test('the form as it comes is a request', () => {
  const wanted = { lifetime_secs: 1800, keys: 'client', peers: [{ name: 'phone' }], place: 'local' };
  assert.deepEqual(request.request(form([])), wanted);
  const all = [
    ['lifetime', 'other'],
    ['lifetime_other', '2h'],
    ['dns', 'custom'],
    ['dns_custom', '9.9.9.9, corp.example'],
    ['traffic', 'some'],
    ['networks', '10.0.0.0/8\n1.1.1.1 fd00::1'],
    ['mtu', '1280'],
    ['port', '51820'],
    ['idle_end', '5'],
    ['keys', 'gateway'],
    ['region', 'north'],
    ['size', ''],
  ];
  assert.deepEqual(request.request(form(all)), {
    lifetime_secs: 7200,
    keys: 'gateway',
    peers: [{ name: 'phone' }],
    place: 'local',
    region: 'north',
    dns: ['9.9.9.9', 'corp.example'],
    allowed_ips: ['10.0.0.0/8', '1.1.1.1/32', 'fd00::1/128'],
    port: 51820,
    mtu: 1280,
    idle_end_secs: 300,
  });
  assert.deepEqual(request.request(form([['dns', 'own']])).dns, []);
});

test('what cannot be read names its field', () => {
  const key = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
  const cases = [
    [
      'lifetime_secs',
      [
        ['lifetime', 'other'],
        ['lifetime_other', 'soon'],
      ],
    ],
    ['keys', [['keys', '']]],
    ['peers[0].name', [['device', 'my phone']]],
    [
      'peers[1].name',
      [
        ['device', 'phone'],
        ['device', 'PHONE'],
      ],
    ],
    ['peers[0].public_key', [['keys', 'pasted']]],
    [
      'peers[1].public_key',
      [
        ['keys', 'pasted'],
        ['device', 'a'],
        ['device', 'b'],
        ['public_key', key],
        ['public_key', 'x'],
      ],
    ],
    [
      'dns',
      [
        ['dns', 'custom'],
        ['dns_custom', ' '],
      ],
    ],
    [
      'allowed_ips',
      [
        ['traffic', 'some'],
        ['networks', ''],
      ],
    ],
    [
      'allowed_ips',
      [
        ['traffic', 'some'],
        ['networks', 'home'],
      ],
    ],
    ['mtu', [['mtu', '100']]],
    ['port', [['port', '1e3']]],
  ];
  for (const [field, fields] of cases) {
    assert.throws(
      () => request.request(form(fields)),
      (error) => error instanceof request.Invalid && error.field === field,
      field,
    );
  }
});

test('a further device gets a name that is free', () => {
  assert.equal(request.freeName([]), 'phone');
  assert.equal(request.freeName(['Phone', 'laptop']), 'tablet');
  assert.equal(request.freeName(['phone', 'laptop', 'tablet', 'desktop', 'tv', 'device-2']), 'device-3');
});

test('the summary says what will be launched', () => {
  assert.equal(
    request.summary(
      form([
        ['device', 'phone'],
        ['device', 'laptop'],
      ]),
    ),
    'A gateway on local for 30\u00a0min, for phone and laptop. All traffic goes through it.',
  );
  assert.equal(
    request.summary(
      form([
        ['traffic', 'some'],
        ['lifetime', 'other'],
      ]),
    ),
    'A gateway on local, for phone. Only some networks go through it.',
  );
});

test('a QR code is drawn module by module', () => {
  const code = generate('[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n', {
    minCorrectionLevel: correction.L,
  });
  const dark = new Set();
  for (const [, x, y, width] of qr.path(code).matchAll(/M(\d+) (\d+)h(\d+)v1h-\d+z/g)) {
    for (let step = 0; step < Number(width); step += 1) dark.add(`${Number(x) + step} ${y}`);
  }
  for (let y = -4; y < code.size + 4; y += 1) {
    for (let x = -4; x < code.size + 4; x += 1)
      assert.equal(dark.has(`${x + 4} ${y + 4}`), code.get(x, y), `${x} ${y}`);
  }
});

test('a key whose configuration has become another one is not taken any more', async () => {
  const key = await keys.make();
  const steps = [
    [() => keys.take(key), true],
    [() => keys.untake(key), false],
    [() => keys.take(key), true],
  ];
  for (const [step, isTaken] of steps) {
    step();
    assert.equal(keys.isTaken(key), isTaken);
    assert.equal(keys.hasUntaken(), !isTaken);
  }
  keys.forget([key]);
});
