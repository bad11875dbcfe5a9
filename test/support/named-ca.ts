import type { LocalCa } from '../../cli/dev/certificates.ts';
import { createAuthority, issueCertificate } from '../../runtime/certificates.ts';

const lifetimeMs = 3_600_000;

/** A certificate authority whose servers have names, such as no resolver knows. */
export async function createNamedCa(...names: readonly string[]): Promise<LocalCa> {
  const nowMs = Date.now();
  const authority = await createAuthority({ commonName: 'CA of a test', nowMs, lifetimeMs });
  return {
    certificate: authority.cert,
    issue: (commonName, purpose = 'server') =>
      issueCertificate({ authority, commonName, names, purpose, nowMs, lifetimeMs }),
  };
}
