import { createAuthority, createLeaf } from './certificates.ts';
import type { Asked, Done, Job } from './messages.ts';
import { createTrustStore } from './trust-store.ts';

/** Makes certificates in a process that ends when nobody needs one: what that takes stays in no sidecar's memory. */

function make(job: Job): Promise<Extract<Done, { made: unknown }>['made']> {
  switch (job.kind) {
    case 'authority':
      return createAuthority(job.nowMs);
    case 'leaf':
      return createLeaf(job.authority, job.names, job.nowMs);
    case 'store':
      return createTrustStore(job.certificates);
  }
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
