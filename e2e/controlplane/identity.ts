/** Keys, tokens and kubeconfigs of a control plane. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { selfSignedCertificate } from './certificate.ts';

/** The namespace in which Berth's service accounts live. */
export const SYSTEM_NAMESPACE = 'berth-system';

/** Users with a fixed token. The two of Berth are their service accounts, so that the RBAC shipped applies to them. */
export type UserName = 'admin' | 'berth-agent' | 'berth-operator';

interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

function serviceAccount(name: string): User {
  return {
    name: `system:serviceaccount:${SYSTEM_NAMESPACE}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${SYSTEM_NAMESPACE}`],
  };
}

const USERS: Readonly<Record<UserName, User>> = {
  admin: { name: 'admin', groups: ['system:masters'] },
  'berth-agent': serviceAccount('berth-agent'),
  'berth-operator': serviceAccount('berth-operator'),
};

/** Fixed tokens by user. */
export type Tokens = Readonly<Record<UserName, string>>;

/** Paths of what the API server is started with. */
export interface IdentityFiles {
  readonly tokenFile: string;
  readonly serviceAccountKey: string;
  readonly serviceAccountPublicKey: string;
  /** PEM bundle; who has a certificate of one of these authorities is the user that it names. */
  readonly clientCa: string;
}

/** Where the identity files of a control plane lie. */
export function identityFiles(directory: string): IdentityFiles {
  return {
    tokenFile: join(directory, 'tokens.csv'),
    serviceAccountKey: join(directory, 'service-account.key'),
    serviceAccountPublicKey: join(directory, 'service-account.pub'),
    clientCa: join(directory, 'client-ca.crt'),
  };
}

/** Writes a new service-account key pair, a new token for each user, and a client CA that has nobody. */
export async function writeIdentity(directory: string): Promise<Tokens> {
  const files = identityFiles(directory);
  const { privateKey, publicKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const token = (): string => randomBytes(24).toString('hex');
  const tokens: Tokens = { admin: token(), 'berth-agent': token(), 'berth-operator': token() };
  const lines = Object.entries(USERS).map(([name, user]) => {
    // Object.entries widens the keys of a Record; USERS has exactly the users.
    const secret = tokens[name as UserName];
    return `${secret},${user.name},${name},"${user.groups.join(',')}"\n`;
  });
  await writeFile(files.serviceAccountKey, privateKey, { mode: 0o600 });
  await writeFile(files.serviceAccountPublicKey, publicKey, { mode: 0o600 });
  await writeFile(files.tokenFile, lines.join(''), { mode: 0o600 });
  // The API server takes no empty bundle: an authority whose key nobody has.
  await writeFile(files.clientCa, selfSignedCertificate('nobody').certificate);
  return tokens;
}

/**
 * Writes a kubeconfig for a bearer token and returns its path.
 * @param caFile PEM bundle that the server's certificate is checked against; copied into the kubeconfig.
 */
export async function writeKubeconfig(
  path: string,
  url: string,
  caFile: string,
  token: string,
): Promise<string> {
  const ca = (await readFile(caFile)).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'berth', cluster: { server: url, 'certificate-authority-data': ca } }],
    users: [{ name: 'berth', user: { token } }],
    contexts: [{ name: 'berth', context: { cluster: 'berth', user: 'berth', namespace: 'default' } }],
    'current-context': 'berth',
  };
  await writeFile(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  return path;
}
