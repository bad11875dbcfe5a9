import 'reflect-metadata'; // @peculiar/x509 wires its parts with it
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { ServerKeyPair } from '#core/control.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const clockSkewMs = 5 * 60_000;

/** What every certificate has; the common name has at most 64 characters (RFC 5280, ub-common-name). */
interface CertificateOptions {
  readonly commonName: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** A certificate that is issued; its authority's end is its own where that comes before. */
export interface IssueOptions extends CertificateOptions {
  readonly authority: ServerKeyPair;
  /** Names and IP addresses under which it is dialled; at least one. */
  readonly names: readonly string[];
  readonly purpose?: 'server' | 'client';
}

/** Makes a certificate authority, which issues for servers and clients and for no further authority. */
export async function createAuthority({
  commonName,
  nowMs,
  lifetimeMs,
}: CertificateOptions): Promise<ServerKeyPair> {
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [commonName] }],
    keys,
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(nowMs + lifetimeMs),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return pairOf(certificate, keys);
}

/** Issues a certificate with a key of its own. */
export async function issueCertificate({
  authority,
  commonName,
  names,
  purpose = 'server',
  nowMs,
  lifetimeMs,
}: IssueOptions): Promise<ServerKeyPair> {
  const issuer = new X509Certificate(authority.cert);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(authority.key), algorithm, false, ['sign']); // prettier-ignore
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.create({
    subject: [{ CN: [commonName] }],
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(Math.min(nowMs + lifetimeMs, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([
        purpose === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
      ]),
      new SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return pairOf(certificate, keys);
}

async function pairOf(
  certificate: X509Certificate,
  keys: webcrypto.CryptoKeyPair,
): Promise<ServerKeyPair> {
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `${PemConverter.encode(der, 'PRIVATE KEY')}\n`,
  };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}
