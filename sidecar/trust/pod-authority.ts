import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import type { ServerKeyPair } from '#core/control.ts';
import type { CertificateWorker } from './certificate-worker.ts';

/** In one file, so that there is never a key with the certificate of another. */
const fileName = 'authority.json';
/** A pod that has run for so long starts anew with another authority, rather than with one that is about to end. */
const leastRestMs = 90 * 86_400_000;

/**
 * Returns the authority that this pod's agents trust: the one that an earlier process of this sidecar has left in memory,
 * so that they go on trusting it, or a new one.
 */
export async function providePodAuthority(
  memoryDirectory: string,
  worker: CertificateWorker,
  nowMs: number,
): Promise<ServerKeyPair> {
  const file = join(memoryDirectory, fileName);
  const kept = await tryRead(file);
  if (kept && isUsable(kept, nowMs)) return kept;
  const made = await worker.pair({ kind: 'authority', nowMs });
  await replaceFile(file, JSON.stringify(made), 0o600);
  return made;
}

/** Writes what agents are to trust: what Node trusts, and the pod's authority. What is there already stays. */
export async function writeTrust(
  trustDirectory: string,
  authority: ServerKeyPair,
  worker: CertificateWorker,
): Promise<void> {
  const trusted = [authority.cert.trim(), ...rootCertificates];
  const text = `${trusted.join('\n')}\n`;
  const file = join(trustDirectory, 'ca.crt');
  const kept = await readFile(file, 'utf8').catch(() => undefined); // there is none yet
  if (kept === text) return;
  await replaceFile(join(trustDirectory, 'ca.p12'), await worker.store(trusted), 0o644);
  await replaceFile(file, text, 0o644); // last: where it is, the store is as well
}

async function tryRead(file: string): Promise<ServerKeyPair | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { cert, key } = value as { cert?: unknown; key?: unknown };
    return typeof cert === 'string' && typeof key === 'string' ? { cert, key } : undefined;
  } catch {
    return undefined; // there is none yet
  }
}

function isUsable({ cert, key }: ServerKeyPair, nowMs: number): boolean {
  try {
    const certificate = new X509Certificate(cert);
    const ends = Date.parse(certificate.validTo);
    return certificate.checkPrivateKey(createPrivateKey(key)) && ends - nowMs > leastRestMs;
  } catch {
    return false; // a new one is made
  }
}

/** Whoever reads it finds the old content or the new one. */
async function replaceFile(
  file: string,
  content: string | Uint8Array,
  mode: number,
): Promise<void> {
  const unfinished = `${file}.${randomUUID()}`;
  await writeFile(unfinished, content, { mode, flag: 'wx' });
  await rename(unfinished, file);
}
