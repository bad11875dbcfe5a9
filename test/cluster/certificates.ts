import 'reflect-metadata'; // @peculiar/x509 wires its parts with it
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type JsonName,
  type X509Certificate,
} from '@peculiar/x509';
import { addresses, nodeName } from './addresses.ts';
import { kubeconfigOf } from './files.ts';
import { state } from './places.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const validity = {
  notBefore: new Date(Date.now() - 300_000), // clocks differ
  notAfter: new Date(Date.now() + 365 * 24 * 3_600_000),
};

interface Identity {
  /** Of its files, and of the user in its kubeconfig. */
  readonly file: string;
  readonly user: string;
  readonly group?: string;
  readonly names?: readonly string[];
  readonly addresses?: readonly string[];
}

/** Who the cluster's programs are to each other, in Kubernetes' own names. */
const identities: readonly Identity[] = [
  {
    file: 'apiserver',
    user: 'kube-apiserver',
    names: ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'],
    addresses: ['127.0.0.1', addresses.node.v4, addresses.apiService],
  },
  { file: 'kubelet-client', user: 'kube-apiserver-kubelet-client', group: 'system:masters' },
  {
    file: 'kubelet',
    user: `system:node:${nodeName}`,
    group: 'system:nodes',
    names: [nodeName],
    addresses: [addresses.node.v4, addresses.node.v6],
  },
  { file: 'admin', user: 'admin', group: 'system:masters' },
  { file: 'kcm', user: 'system:kube-controller-manager' },
  { file: 'scheduler', user: 'system:kube-scheduler' },
  { file: 'proxy', user: 'system:kube-proxy' },
  { file: 'coredns', user: 'system:coredns' },
];

/** Makes a CA, the key of service accounts, and of each program a certificate and a kubeconfig, once for a state. */
export async function makeCertificates(): Promise<void> {
  const directory = join(state, 'pki');
  if (existsSync(directory)) return;
  const unfinished = `${directory}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  const write = (name: string, text: string): void =>
    writeFileSync(join(unfinished, name), text, { mode: 0o600 });

  const keys = await makeKeys();
  const ca = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=Chaperone test cluster',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
    ...validity,
  });
  write('ca.crt', ca.toString('pem'));
  write('ca.key', await pemOf(keys.privateKey)); // the controller manager signs requests for certificates with it
  const accounts = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  write('sa.key', accounts.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  write('sa.pub', accounts.publicKey.export({ type: 'spki', format: 'pem' }).toString());
  for (const identity of identities) {
    const own = await makeKeys();
    const certificate = await issue(identity, own.publicKey, { ca, key: keys.privateKey });
    const key = await pemOf(own.privateKey);
    write(`${identity.file}.crt`, certificate);
    write(`${identity.file}.key`, key);
    const file = kubeconfigOf(identity.file, { ca: ca.toString('pem'), certificate, key });
    write(`${identity.file}.conf`, file);
  }
  renameSync(unfinished, directory);
}

async function issue(
  { user, group, names = [], addresses: ips = [] }: Identity,
  publicKey: webcrypto.CryptoKey,
  signer: { readonly ca: X509Certificate; readonly key: webcrypto.CryptoKey },
): Promise<string> {
  const subject: JsonName = [...(group === undefined ? [] : [{ O: [group] }]), { CN: [user] }];
  const alternatives = [
    ...names.map((value) => ({ type: 'dns' as const, value })),
    ...ips.map((value) => ({ type: 'ip' as const, value })),
  ];
  const certificate = await X509CertificateGenerator.create({
    subject,
    issuer: signer.ca.subject,
    publicKey,
    signingKey: signer.key,
    signingAlgorithm: algorithm,
    extensions: [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      ...(alternatives.length > 0 ? [new SubjectAlternativeNameExtension(alternatives)] : []),
    ],
    ...validity,
  });
  return certificate.toString('pem');
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
