import 'reflect-metadata'; // @peculiar/x509 wires its parts with it
import { webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type X509Certificate,
} from '@peculiar/x509';
import type { ServerKeyPair } from '#core/control.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const validityMs = 47 * 24 * 3_600_000; // longer than any laptop session, shorter than what clients distrust
const clockSkewMs = 5 * 60_000;

/** A certificate authority that lives as long as its process: its key never leaves memory. */
export interface LocalCa {
  /** PEM. */
  readonly certificate: string;
  /** Issues a certificate for servers on this machine's loopback addresses, or for a client. */
  issue(commonName: string, purpose?: 'server' | 'client'): Promise<ServerKeyPair>;
}

/** Makes a CA for the parts of one start. */
export async function createLocalCa(nowMs: number): Promise<LocalCa> {
  const keys = await generateKeys();
  const notBefore = new Date(nowMs - clockSkewMs);
  const notAfter = new Date(nowMs + validityMs);
  const ca = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=Chaperone local CA',
    keys,
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificate: `${ca.toString('pem')}\n`,
    issue: (commonName, purpose = 'server') =>
      issue({ ca, caKeys: keys, commonName, purpose, notBefore, notAfter }),
  };
}

interface LeafOptions {
  readonly ca: X509Certificate;
  readonly caKeys: webcrypto.CryptoKeyPair;
  readonly commonName: string;
  readonly purpose: 'server' | 'client';
  readonly notBefore: Date;
  readonly notAfter: Date;
}

async function issue({
  ca,
  caKeys,
  commonName,
  purpose,
  notBefore,
  notAfter,
}: LeafOptions): Promise<ServerKeyPair> {
  const keys = await generateKeys();
  const leaf = await X509CertificateGenerator.create({
    subject: `CN=${commonName}`,
    issuer: ca.subject,
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([
        purpose === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
      ]),
      new SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(ca.publicKey),
    ],
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const body = der.toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd();
  return {
    cert: `${leaf.toString('pem')}\n`,
    key: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
  };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}
