import type { ServerKeyPair } from '#core/control.ts';
import { createAuthority, issueCertificate } from '../../runtime/certificates.ts';

const lifetimeMs = 47 * 24 * 3_600_000; // longer than any laptop session, shorter than what clients distrust

/** A certificate authority that lives as long as its process: its key never leaves memory. */
export interface LocalCa {
  /** PEM. */
  readonly certificate: string;
  /** Issues a certificate for servers on this machine's loopback addresses, or for a client. */
  issue(commonName: string, purpose?: 'server' | 'client'): Promise<ServerKeyPair>;
}

/** Makes a CA for the parts of one start. */
export async function createLocalCa(nowMs: number): Promise<LocalCa> {
  const authority = await createAuthority({ commonName: 'Chaperone local CA', nowMs, lifetimeMs });
  const names = ['localhost', '127.0.0.1', '::1'];
  return {
    certificate: authority.cert,
    issue: (commonName, purpose = 'server') =>
      issueCertificate({ authority, commonName, names, purpose, nowMs, lifetimeMs }),
  };
}
