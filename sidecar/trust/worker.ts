import { parentPort } from 'node:worker_threads';
import { createAuthority, createLeaf } from './certificates.ts';
import { createTrustStore } from './trust-store.ts';
import type { Done, Job } from './messages.ts';

/** Makes certificates in a thread that ends when nobody needs one: what that takes stays in no sidecar's memory. */

const port = parentPort;

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

port?.on('message', ({ id, job }: { readonly id: number; readonly job: Job }) => {
  make(job).then(
    (made) => port.postMessage({ id, made } satisfies Done),
    (error: unknown) => {
      const text = error instanceof Error ? error.message : 'unknown';
      port.postMessage({ id, error: text } satisfies Done);
    },
  );
});
