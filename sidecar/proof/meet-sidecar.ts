import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { sentinelLine, type sentinels } from '#core/interception/sentinel.ts';

/** What came of dialling a sentinel. */
export type Met =
  | { readonly kind: 'sidecar' }
  /** The pod has no way to addresses of this family, so that none is to be led anywhere. */
  | { readonly kind: 'no-route' }
  | { readonly kind: 'nobody'; readonly reason: string };

const answerMs = 3_000;
const againMs = 250;

/** What the kernel says before any rule is asked: there is no such family here, or no route of it. */
const noRoute = new Set(['ENETUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT']);

/** Dials until the sidecar answers, there is no route, or the time is over: the sidecar may be starting again. */
export async function meetSidecar(
  sentinel: (typeof sentinels)[number],
  forMs: number,
): Promise<Met> {
  const deadline = performance.now() + forMs;
  for (;;) {
    const met = await dial(sentinel);
    if (met.kind !== 'nobody' || performance.now() > deadline) return met;
    await delay(againMs);
  }
}

function dial(sentinel: (typeof sentinels)[number]): Promise<Met> {
  return new Promise((resolve) => {
    const socket = connect({ ...sentinel, timeout: answerMs });
    let said = '';
    const nobody = (reason: string): void => {
      socket.destroy();
      resolve({ kind: 'nobody', reason });
    };
    socket.setEncoding('latin1').on('data', (text: string) => {
      said += text;
      if (said.length > sentinelLine.length) nobody('somebody else answered');
    });
    socket.on('end', () =>
      said === sentinelLine ? resolve({ kind: 'sidecar' }) : nobody('somebody else answered'),
    );
    socket.on('close', () => nobody('it was closed without a word')); // where nothing else was said before
    socket.on('timeout', () => nobody('nobody answered'));
    socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => {
      if (noRoute.has(code)) resolve({ kind: 'no-route' });
      else nobody(code);
    });
  });
}
