import type { ServerKeyPair } from '#core/control.ts';
import { createAuthority, issueCertificate } from '../../runtime/certificates.ts';
import type { Asked, Done, Job } from './messages.ts';
import { createTrustStore } from './trust-store.ts';

/** Makes certificates in a process that ends when nobody needs one: what that takes stays in no sidecar's memory. */

const dayMs = 86_400_000;
/** Of an authority: longer than pods live, since its successor would be trusted by no agent that runs already. */
const authorityMs = 1_825 * dayMs;
/** What clients accept at most of a server is some 400 days. */
const leafMs = 30 * dayMs;
const maxCommonName = 64; // RFC 5280, ub-common-name

function make(job: Job): Promise<Extract<Done, { made: unknown }>['made']> {
  switch (job.kind) {
    case 'authority':
      return authorityAt(job.nowMs);
    case 'leaf':
      return issueCertificate({
        authority: job.authority,
        commonName: job.names.find((name) => name.length <= maxCommonName) ?? 'chaperone',
        names: job.names,
        nowMs: job.nowMs,
        lifetimeMs: leafMs,
      });
    case 'store':
      return createTrustStore(job.certificates);
  }
}

function authorityAt(nowMs: number): Promise<ServerKeyPair> {
  const commonName = `Chaperone in this pod ${new Date(nowMs).toISOString()}`;
  return createAuthority({ commonName, nowMs, lifetimeMs: authorityMs });
}

function answer(done: Done): void {
  process.send?.(done);
}

process.on('message', ({ id, job }: Asked) => {
  make(job).then(
    (made) => answer({ id, made }),
    (error: unknown) => answer({ id, error: error instanceof Error ? error.message : 'unknown' }),
  );
});
process.once('disconnect', () => process.exit());
