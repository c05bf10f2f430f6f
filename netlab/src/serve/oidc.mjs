// An OpenID Connect provider for tests: npm's oidc-provider, with users that sign in by a button.
//
// Reads a line of settings, then says its issuer, then what is asked of it and what fails, a line of JSON each. Ends
// when its standard input does.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

// The package counts on Node 22 for this one.
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);
// And talks on standard output, which is for JSON.
console.info = console.error;

const { default: Provider } = await import('oidc-provider');

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const escape = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
const page = (title, body) => `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>${escape(title)}</title><link rel="icon" href="data:,"></head>
<body><main><h1>${escape(title)}</h1>${body}</main></body>
</html>
`;

const input = createInterface({ input: process.stdin });
input.on('close', () => process.exit(0));
const [line] = await new Promise((resolve) => input.once('line', (line) => resolve([line])));
const settings = JSON.parse(line);
const users = new Map(settings.users.map((user) => [user.sub, user]));

const server = createServer();
await new Promise((resolve, reject) => {
  server.once('error', reject).listen(settings.port, settings.address, resolve);
});
const { address, family, port } = server.address();
const issuer = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;

const scopes = {
  openid: ['sub'],
  email: ['email', 'email_verified'],
  groups: ['groups'],
  roles: ['roles'],
};
const others = settings.users.flatMap(Object.keys).filter((claim) => !Object.values(scopes).flat().includes(claim));
scopes.profile = [...new Set(['name', 'preferred_username', ...others])];

const { client } = settings;
const provider = new Provider(issuer, {
  claims: scopes,
  clients: [
    {
      client_id: client.id,
      ...(client.secret === null
        ? { token_endpoint_auth_method: 'none' }
        : { client_secret: client.secret, token_endpoint_auth_method: 'client_secret_basic' }),
      redirect_uris: client.redirects,
      post_logout_redirect_uris: client.signedOut,
    },
  ],
  conformIdTokenClaims: settings.claims === 'userinfo',
  cookies: { keys: [randomBytes(32).toString('hex')] },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: {
      logoutSource: (context, form) => {
        const button = '<button type="submit" form="op.logoutForm" value="yes" name="logout">Sign out</button>';
        context.body = page('Sign out?', form + button);
      },
      postLogoutSuccessSource: (context) => {
        context.body = page('Signed out', '');
      },
    },
  },
  findAccount: (_context, sub) => users.has(sub) && { accountId: sub, claims: () => users.get(sub) },
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  jwks: { keys: [signingKey()] },
  // Whoever signs in has agreed to what the client asks for.
  loadExistingGrant: async (context) => {
    const { client, session, requestParamOIDCScopes, requestParamClaims } = context.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope([...requestParamOIDCScopes].join(' '));
    grant.addOIDCClaims([...requestParamClaims]);
    await grant.save();
    return grant;
  },
  pkce: { required: () => true },
  renderError: (context, out) => {
    context.type = 'html';
    context.body = page('Refused', `<p>${escape(out.error)}: ${escape(out.error_description)}</p>`);
  },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
});

provider.on('authorization.accepted', (context) => say({ asked: definite(context.oidc.params) }));
for (const event of ['authorization', 'end_session', 'grant', 'userinfo']) {
  provider.on(`${event}.error`, (_context, error) => say({ failed: event, why: reason(error) }));
}
provider.on('server_error', (_context, error) => say({ failed: 'server', why: error.stack }));

const answer = provider.callback();
server.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) {
    return answer(request, response);
  }
  interact(request, response).catch((error) => {
    response.writeHead(400, { 'content-type': 'text/html' }).end(page('Refused', escape(reason(error))));
  });
});
say({ issuer });

/// A page with a button for each user, and what comes of a button.
async function interact(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const finish = (result) => provider.interactionFinished(request, response, result);
  if (request.method === 'POST') {
    const form = new URLSearchParams(await text(request));
    const sub = form.get('sub');
    return finish(
      users.has(sub)
        ? { login: { accountId: sub } }
        : { error: 'access_denied', error_description: 'the user refused' },
    );
  }
  if (settings.asksNobody) {
    return finish({ login: { accountId: settings.users[0].sub } });
  }
  const button = (sub, label) => `<p><button name="sub" value="${escape(sub)}">${escape(label)}</button></p>`;
  const buttons = settings.users.map((user) => button(user.sub, `Sign in as ${user.name ?? user.sub}`));
  buttons.push(button('', 'Refuse'));
  response
    .writeHead(200, { 'content-type': 'text/html', 'cache-control': 'no-store' })
    .end(page(`Sign in to ${params.client_id}`, `<form method="post">${buttons.join('')}</form>`));
}

async function text(stream) {
  const parts = [];
  for await (const part of stream) {
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomBytes(8).toString('hex') };
}

function reason(error) {
  return [error.error, error.error_description, error.error_detail, error.error ? null : error.message]
    .filter(Boolean)
    .join(': ');
}

function definite(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
