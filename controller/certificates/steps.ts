import 'reflect-metadata'; // @peculiar/x509 wires its parts with it
import { webcrypto } from 'node:crypto';
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
import { lifetimes, type Certificates, type RotationStep } from './plan.ts';
import type { KeyPair } from '../../runtime/tls-files.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const clockSkewMs = 5 * 60_000;

/** Whom certificates are made for. */
export interface Subject {
  /** The server's common name, of which its authority has its own. */
  readonly name: string;
  /** Those by which it is dialled. */
  readonly names: readonly string[];
}

/**
 * Takes one step of a plan; `wait` changes nothing. Whoever calls it stores what it returns before the next step, and
 * has clients trust it before servers show it.
 */
export async function takeStep(
  certificates: Certificates,
  step: RotationStep,
  subject: Subject,
  nowMs: number,
): Promise<Certificates> {
  switch (step.kind) {
    case 'create-authority': {
      const authority = await createAuthority(subject, nowMs);
      const leaf = await issueLeaf(authority, subject, nowMs);
      return { authority, leaf, next: undefined, previous: undefined, promotedMs: undefined };
    }
    case 'announce-next':
      return { ...certificates, next: await createAuthority(subject, nowMs) };
    case 'promote-next': {
      const { authority: last, next: authority } = certificates;
      if (!authority) throw new TypeError('there is no next authority');
      const leaf = await issueLeaf(authority, subject, nowMs);
      return { authority, leaf, next: undefined, previous: last?.cert, promotedMs: nowMs };
    }
    case 'issue-leaf': {
      if (!certificates.authority) throw new TypeError('there is no authority');
      return { ...certificates, leaf: await issueLeaf(certificates.authority, subject, nowMs) };
    }
    case 'forget-previous':
      return { ...certificates, previous: undefined, promotedMs: undefined };
    case 'wait':
      return certificates;
  }
}

async function createAuthority({ name }: Subject, nowMs: number): Promise<KeyPair> {
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    // Each has a name of its own: two with one name, and clients may try the wrong one alone.
    name: `CN=${name} CA ${new Date(nowMs).toISOString()}`,
    keys,
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(nowMs + lifetimes.authority),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return pairOf(certificate, keys);
}

async function issueLeaf(
  authority: KeyPair,
  { name, names }: Subject,
  nowMs: number,
): Promise<KeyPair> {
  const issuer = new X509Certificate(authority.cert);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(authority.key), algorithm, false, ['sign']); // prettier-ignore
  const keys = await generateKeys();
  const end = Math.min(nowMs + lifetimes.leaf, issuer.notAfter.getTime());
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(end),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return pairOf(certificate, keys);
}

async function pairOf(
  certificate: X509Certificate,
  keys: webcrypto.CryptoKeyPair,
): Promise<KeyPair> {
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `${PemConverter.encode(der, 'PRIVATE KEY')}\n`,
  };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}
