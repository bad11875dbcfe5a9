/**
 * Addresses that nobody has (RFC 5737, RFC 3849), for which the sidecar itself answers: who dials one and meets it knows
 * that the rules of the pod lead there.
 */
export const sentinels = [
  { host: '192.0.2.72', port: 15_001 },
  { host: '2001:db8::48', port: 15_001 },
] as const;

/** What the sidecar says to whoever dials a sentinel, before it ends the connection. */
export const sentinelLine = 'chaperone: this connection was led to the sidecar\n';

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
