/**
 * Addresses that nobody has (RFC 5737, RFC 3849), for which the sidecar itself answers: who dials one and meets it knows
 * that the rules of the pod lead there.
 */
export const sentinels = [
  { host: '192.0.2.72', port: 15_001 },
  { host: '2001:db8::48', port: 15_001 },
] as const;

const led = 'chaperone: this connection was led to the sidecar';
const ready = `${led}\n`;
const starting = `${led}, which is not ready: `;
const maxReason = 200;

/** Most characters that an answer of a sidecar has. */
export const maxSentinelAnswer = starting.length + maxReason + 1;

/** What somebody said who was dialled as a sentinel. */
export type SentinelAnswer =
  { readonly kind: 'ready' } | { readonly kind: 'starting'; readonly reason: string };

/** What the sidecar says to whoever dials a sentinel, before it ends the connection: why it is not ready, if it is not. */
export function writeSentinelAnswer(notReady: string | undefined): string {
  return notReady === undefined ? ready : `${starting}${notReady.slice(0, maxReason)}\n`;
}

/** Reads what was said until the end; undefined for what no sidecar says. */
export function readSentinelAnswer(said: string): SentinelAnswer | undefined {
  if (said === ready) return { kind: 'ready' };
  if (!said.startsWith(starting) || !said.endsWith('\n')) return undefined;
  return { kind: 'starting', reason: said.slice(starting.length, -1) };
}

/** Whether something that was dialled, in canonical form, is a sentinel. */
export function isSentinel({
  host,
  port,
}: {
  readonly host: string;
  readonly port: number;
}): boolean {
  return sentinels.some((sentinel) => sentinel.host === host && sentinel.port === port);
}
