import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { Address } from '../runtime/settings.ts';
import { limitSignal } from './limited-signal.ts';

const dialTimeoutMs = 10_000;

/** How names of upstreams become addresses, and which addresses may be dialled. */
export interface Routes {
  /** Where names lead that exist on this machine only, by `host:port`. */
  readonly connectTo: ReadonlyMap<string, Address>;
  /** Resolves a name of which a port is to be dialled. Undefined: as this machine does. */
  readonly lookupFor: ((port: number) => LookupFunction) | undefined;
  readonly isDenied: (address: string, port: number) => boolean;
  /**
   * Whether what listens at loopback is this machine's own, so that nobody reads what is sent there. In a pod it may be
   * the agent.
   */
  readonly trustsLoopback: boolean;
}

/** Connects to a backend's upstream address. @throws ChaperoneError `backend-unreachable`; the signal's reason. */
export async function dial(
  backend: ResolvedBackend,
  { connectTo, lookupFor, isDenied }: Routes,
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port } = backend.upstream;
  const address = connectTo.get(`${host}:${port}`) ?? { host, port };
  if (isIP(address.host) !== 0 && isDenied(address.host, address.port))
    throw new ChaperoneError('backend-unreachable', `nothing may be sent to ${address.host}`);
  const socket = connect({
    ...address,
    ...(lookupFor ? { lookup: lookupFor(address.port) } : {}),
    noDelay: true,
    keepAlive: true,
    allowHalfOpen: true,
  });
  using limited = limitSignal([signal], {
    timeoutMs: dialTimeoutMs,
    reason: new Error('no connection in time'),
  });
  const limit = limited.signal;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => void socket.destroy(new Error('no connection in time'));
  limit.addEventListener('abort', abort, { once: true });
  socket.once('connect', resolve);
  socket.once('error', reject);
  try {
    if (limit.aborted) abort();
    await promise;
    return socket;
  } catch (cause) {
    socket.destroy();
    signal.throwIfAborted(); // whoever gave up says why
    throw new ChaperoneError('backend-unreachable', `cannot reach ${host}:${port}`, { cause });
  } finally {
    limit.removeEventListener('abort', abort);
    socket.off('error', reject);
  }
}
