import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import {
  maxSentinelAnswer,
  readSentinelAnswer,
  type SentinelAnswer,
} from '#core/interception/sentinel.ts';
import type { Address } from '../../runtime/settings.ts';

/** What came of dialling a sentinel. */
export type Met =
  | SentinelAnswer
  /** The pod has no way to addresses of this family, so that none is to be led anywhere. */
  | { readonly kind: 'no-route' }
  | { readonly kind: 'nobody'; readonly reason: string }
  /** Nobody listens where it led: a sidecar that has been started, or starts again, does not yet. */
  | { readonly kind: 'refused'; readonly reason: string };

const answerMs = 3_000;
const againMs = 100;

/** What the kernel says before any rule is asked: there is no such family here, or no route of it. */
const noRoute = new Set(['ENETUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT']);

/** In milliseconds, from the first try. */
export interface Patience {
  /** Where somebody else answers, or nobody. */
  readonly meetMs: number;
  /** Where nobody listens yet. */
  readonly listenMs: number;
  /** Where the sidecar says that it is not ready. */
  readonly readyMs: number;
}

/** Dials until the sidecar is ready, there is no route, or the longest time is over that anything met has called for. */
export async function meetSidecar(sentinel: Address, patience: Patience): Promise<Met> {
  const began = performance.now();
  let waitMs = 0;
  for (;;) {
    const met = await dial(sentinel);
    if (met.kind === 'ready' || met.kind === 'no-route') return met;
    waitMs = Math.max(waitMs, waitFor(met, patience));
    if (performance.now() - began > waitMs) return met;
    await delay(againMs);
  }
}

function waitFor(
  { kind }: Exclude<Met, { readonly kind: 'ready' | 'no-route' }>,
  { meetMs, listenMs, readyMs }: Patience,
): number {
  switch (kind) {
    case 'nobody':
      return meetMs;
    case 'refused':
      return listenMs;
    case 'starting':
      return readyMs;
  }
}

function dial(sentinel: Address): Promise<Met> {
  return new Promise((resolve) => {
    const socket = connect({ ...sentinel, timeout: answerMs });
    let said = '';
    const nobody = (reason: string): void => {
      socket.destroy();
      resolve({ kind: 'nobody', reason });
    };
    socket.setEncoding('latin1').on('data', (text: string) => {
      said += text;
      if (said.length > maxSentinelAnswer) nobody('somebody else answered');
    });
    socket.on('end', () => {
      const answer = readSentinelAnswer(said);
      if (answer) resolve(answer);
      else nobody('somebody else answered');
    });
    socket.on('close', () => nobody('it was closed without a word')); // where nothing else was said before
    socket.on('timeout', () => nobody('nobody answered'));
    socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => {
      if (noRoute.has(code)) resolve({ kind: 'no-route' });
      else if (code === 'ECONNREFUSED') resolve({ kind: 'refused', reason: code });
      else nobody(code);
    });
  });
}
