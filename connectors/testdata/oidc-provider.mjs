// Starts npm oidc-provider on a port of 127.0.0.1 and prints its issuer. Arguments: the package's main file, the clients as JSON.
// It ends with its standard input.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [main, clients] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(main));

const key = (kty, options, members) => ({ ...generateKeyPairSync(kty, options).privateKey.export({ format: 'jwk' }), use: 'sig', ...members });

const people = {
  ana: { email: 'ana@example.com', email_verified: true, name: 'Ana Flores', given_name: 'Ana', family_name: 'Flores', locale: 'es' },
  bo: { email: 'bo@example.com', email_verified: false, name: 'Bo' },
  cy: {},
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: JSON.parse(clients),
    jwks: { keys: [key('rsa', { modulusLength: 2048 }, { kid: 'r' }), key('ec', { namedCurve: 'P-256' }, { kid: 'e' }), key('ed25519', {}, { kid: 'o' })] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'] },
    claims: { email: ['email', 'email_verified'], profile: ['name', 'given_name', 'family_name', 'locale'], acr: null, auth_time: null, sid: null },
    acrValues: ['gold'],
    pkce: { required: () => true },
    features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    // Its guard against private addresses would keep it from the test's own listener on loopback.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    cookies: { keys: ['only for tests'] },
    findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  });
  for (const event of ['backchannel.error', 'server_error']) provider.on(event, (_, err) => console.error(event, err));
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.resume().on('end', () => process.exit(0));
