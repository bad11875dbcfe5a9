import { connect, type Socket } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { Address } from '../runtime/settings.ts';
import { limitSignal } from './limited-signal.ts';

const dialTimeoutMs = 10_000;

/** Connects to a backend's upstream address. @throws ChaperoneError `backend-unreachable`; the signal's reason. */
export async function dial(
  backend: ResolvedBackend,
  connectTo: ReadonlyMap<string, Address>,
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port } = backend.upstream;
  const address = connectTo.get(`${host}:${port}`) ?? { host, port };
  const socket = connect({ ...address, noDelay: true, keepAlive: true, allowHalfOpen: true });
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
