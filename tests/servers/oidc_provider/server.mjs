// A local authorization server: npm oidc-provider with its own login and consent pages.
// All settings come from the environment (see README.md); everything it remembers lies in $STATE.
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as crypto from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const env = process.env;
const { default: Provider } = await import(pathToFileURL(path.join(env.MODULES, 'oidc-provider/lib/index.js')));
const num = (name, fallback) => (env[name] ? Number(env[name]) : fallback);
const port = num('PORT', 4100);
const issuer = `http://127.0.0.1:${port}`;
const file = (name) => path.join(env.STATE, name);

// ---- storage: one Map, written to $STATE/store.json, so that a restart keeps tokens and clients
const store = new Map(fs.existsSync(file('store.json')) ? JSON.parse(fs.readFileSync(file('store.json'))) : []);
const save = () => {
  fs.writeFileSync(file('store.json.tmp'), JSON.stringify([...store]));
  fs.renameSync(file('store.json.tmp'), file('store.json'));
};
let timer;
const dirty = () => { timer ??= setTimeout(() => { timer = undefined; save(); }, 200); };
class Adapter {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  live(row) { return row && (!row.until || row.until > Date.now()) ? row.payload : undefined; }

  async upsert(id, payload, expiresIn) {
    store.set(this.key(id), { payload, until: expiresIn ? Date.now() + (expiresIn + 15) * 1000 : 0 });
    dirty();
  }

  async find(id) { return this.live(store.get(this.key(id))); }

  async by(field, value) {
    for (const [key, row] of store) {
      if (key.startsWith(`${this.model}:`) && row.payload[field] === value) return this.live(row);
    }
    return undefined;
  }

  async findByUid(uid) { return this.by('uid', uid); }

  async findByUserCode(userCode) { return this.by('userCode', userCode); }

  async consume(id) { store.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); dirty(); }

  async destroy(id) { store.delete(this.key(id)); dirty(); }

  async revokeByGrantId(grantId) {
    for (const [key, row] of store) {
      if (row.payload.grantId === grantId && key.startsWith(`${this.model}:`)) store.delete(key);
    }
    dirty();
  }
}

// ---- signing keys, made at the first start
if (!fs.existsSync(file('jwks.json'))) {
  const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  fs.writeFileSync(file('jwks.json'), JSON.stringify({ keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', kid: 'rs', use: 'sig' }] }));
}

// A native client's loopback redirect URI without a port matches every port (RFC 8252 7.3).
const redirects = ['http://127.0.0.1/callback', ...(env.EXTRA_REDIRECTS || '').split(' ').filter(Boolean)];
const native = { application_type: 'native', redirect_uris: redirects, grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'] };

const provider = new Provider(issuer, {
  adapter: Adapter,
  clients: [
    { client_id: 'native', ...native, token_endpoint_auth_method: 'none' },
    { client_id: 'basic', client_secret: 'basic-secret', ...native, token_endpoint_auth_method: 'client_secret_basic' },
    // id and secret carry characters that RFC 6749 2.3.1 form-encodes before base64
    { client_id: 'odd id:+%', client_secret: 's3cret:/+% ~', ...native, token_endpoint_auth_method: 'client_secret_basic' },
  ],
  jwks: JSON.parse(fs.readFileSync(file('jwks.json'))),
  cookies: { keys: ['not-a-secret'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], acr: null, auth_time: null, iss: null, sid: null },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'api:read', 'api:write'],
  async findAccount(ctx, sub) {
    return { accountId: sub, claims: async () => ({ sub, email: `${sub}@example.test`, email_verified: true, name: `User ${sub}`, preferred_username: sub }) };
  },
  ttl: {
    AccessToken: num('AT_TTL', 30), ClientCredentials: num('AT_TTL', 30), RefreshToken: num('RT_TTL', 86400), AuthorizationCode: num('CODE_TTL', 60),
    IdToken: 3600, Interaction: 600, Grant: 86400 * 2, Session: 86400,
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'],
  features: {
    devInteractions: { enabled: true }, // the login and consent pages that it brings along
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    registration: { enabled: true },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: true },
    revocation: { enabled: true },
  },
});

// ---- $STATE/events.jsonl: what the server itself saw; a refresh token stands in it as its fingerprint only
const fingerprint = (token) => (token ? crypto.createHash('sha256').update(token).digest('hex').slice(0, 16) : undefined);
const log = (event, ctx, more) => fs.appendFileSync(file('events.jsonl'), `${JSON.stringify({
  t: Date.now() / 1000, event, client: ctx?.oidc?.client?.clientId, grant_type: ctx?.oidc?.params?.grant_type,
  user: ctx?.oidc?.entities?.Account?.accountId, spent: fingerprint(ctx?.oidc?.params?.refresh_token), ...more })}\n`);
provider.on('grant.success', (ctx) => log('grant.success', ctx, { issued: fingerprint(ctx.body.refresh_token) }));
for (const event of ['authorization.success', 'registration_create.success', 'registration_update.success', 'registration_delete.success']) {
  provider.on(event, (ctx, client) => log(event, ctx, { registered: client?.clientId }));
}
provider.on('grant.revoked', (ctx, grantId) => log('grant.revoked', ctx, { grantId }));
for (const event of ['grant.error', 'authorization.error', 'revocation.error', 'registration_create.error', 'server_error']) {
  provider.on(event, (ctx, err) => log(event, ctx, { error: err?.error ?? err?.name, detail: err?.error_detail ?? err?.error_description ?? err?.message }));
}

// $STATE/hold: so many seconds an answer of the token endpoint is on its way, after everything was carried out and logged.
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token' && fs.existsSync(file('hold'))) await sleep(1000 * Number(fs.readFileSync(file('hold'))));
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { save(); process.exit(0); });
provider.listen(port, '127.0.0.1', () => console.log(`READY ${issuer}`));
