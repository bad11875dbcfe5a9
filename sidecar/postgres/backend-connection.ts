import { X509Certificate, createHash } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls';
import type { BackendCredential } from '#core/control.ts';
import { ChaperoneError } from '#core/errors.ts';
import { buildSslRequest } from '#core/postgres/startup.ts';
import type { LaneHost, Target } from '../lane.ts';
import { isLoopback } from '../loopback.ts';
import { hasUnread, receive } from './receive.ts';

/** A connection to a backend, before its login. */
export interface BackendConnection {
  readonly socket: Duplex;
  /** How far what is sent on it can be trusted to reach the backend alone. */
  readonly channel: 'plain' | 'loopback' | 'encrypted' | 'verified';
  /** What binds a login to this TLS connection (RFC 5929, `tls-server-end-point`), where there is something. */
  readonly endPoint: Buffer | undefined;
}

/** Connects to a target's backend, with TLS as its resource says. @throws ChaperoneError `backend-unreachable`; the signal's reason. */
export async function connectToBackend(
  target: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<BackendConnection> {
  const { upstream, credential } = target.backend;
  const own = credential && host.credential(credential);
  const socket = await host.dial(target.backend, signal);
  socket.on('error', () => socket.destroy());
  const { mode, ca } = upstream.tls;
  if (mode === 'Disable') {
    const isSafe = host.trustsLoopback && isLoopback(socket.remoteAddress);
    return { socket, channel: isSafe ? 'loopback' : 'plain', endPoint: undefined };
  }
  try {
    await askForTls(socket, signal);
    const secure = connectTls({
      socket,
      host: upstream.host,
      ...(isIP(upstream.host) === 0 ? { servername: upstream.host } : {}),
      ...(ca === undefined ? {} : { ca }),
      ...clientCertificate(own),
      rejectUnauthorized: mode !== 'Require',
      checkServerIdentity: mode === 'VerifyFull' ? checkServerIdentity : () => undefined,
      ALPNProtocols: ['postgresql'],
      minVersion: 'TLSv1.2',
    });
    await handshake(secure, signal);
    const endPoint = serverEndPoint(secure.getPeerX509Certificate());
    return { socket: secure, channel: mode === 'Require' ? 'encrypted' : 'verified', endPoint };
  } catch (cause) {
    socket.destroy();
    signal.throwIfAborted(); // whoever gave up says why
    const why = cause instanceof Error ? cause.message : 'unknown';
    throw new ChaperoneError('backend-unreachable', `no TLS with the backend: ${why}`, { cause });
  }
}

/** One byte is the whole answer; more before the handshake did not come from whom TLS will verify (CVE-2021-23222). */
async function askForTls(socket: Socket, signal: AbortSignal): Promise<void> {
  socket.write(buildSslRequest());
  const answer = await receive(
    socket,
    (bytes) => (bytes.length > 0 ? { value: bytes[0], consumed: 1 } : undefined),
    { signal, maxBytes: 1 },
  );
  if (answer !== 0x53) throw new Error('it does not offer TLS'); // S
  if (hasUnread(socket)) throw new Error('bytes before the handshake');
}

async function handshake(secure: TLSSocket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const aborted = (): void => void secure.destroy(new Error('no handshake in time'));
  const closed = (): void => reject(new Error('closed during the handshake'));
  secure.once('secureConnect', resolve).once('error', reject).once('close', closed);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', aborted);
    secure.off('error', reject).off('close', closed);
    secure.on('error', () => secure.destroy());
  }
}

function clientCertificate(own: BackendCredential | undefined): { cert?: string; key?: string } {
  return own?.type === 'ClientCertificate' ? { cert: own.certificate, key: own.key } : {};
}

/**
 * The hash of the server's certificate with the hash of its signature, or SHA-256 in place of MD5 and SHA-1 (RFC 5929
 * section 4.1). Undefined where the signature has none of its own, such as Ed25519.
 */
export function serverEndPoint(certificate: X509Certificate | undefined): Buffer | undefined {
  const algorithm = certificate?.signatureAlgorithm?.toLowerCase() ?? '';
  const [, digits] = /sha-?(1|224|256|384|512)(?!\d)/.exec(algorithm) ?? [];
  const name = digits === undefined && !algorithm.includes('md5') ? undefined : (digits ?? '1');
  if (!certificate || name === undefined) return undefined;
  return createHash(name === '1' ? 'sha256' : `sha${name}`)
    .update(certificate.raw)
    .digest();
}
