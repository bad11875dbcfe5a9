import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';

/** What a parser found at the beginning of the bytes; undefined asks for more. */
export interface Received<T> {
  readonly value: T;
  /** How many bytes it took. */
  readonly consumed: number;
}

export interface ReceiveOptions {
  readonly signal: AbortSignal;
  /** More than this without a whole message is an attack or a mistake. */
  readonly maxBytes: number;
}

/**
 * Reads one message of a login from a socket that nobody else reads yet, and leaves what follows it unread.
 * @throws ChaperoneError `connection-closed` when the peer closes early, `protocol-violation` when it sends too much; what
 * `tryParse` throws.
 */
export async function receive<T>(
  socket: Duplex,
  tryParse: (bytes: Buffer) => Received<T> | undefined,
  options: ReceiveOptions,
): Promise<T> {
  let bytes: Buffer = Buffer.alloc(0);
  for (;;) {
    options.signal.throwIfAborted();
    const chunk: unknown = socket.read();
    if (!Buffer.isBuffer(chunk)) {
      await readable(socket, options.signal);
      continue;
    }
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const received = tryParse(bytes);
    if (received) {
      if (received.consumed < bytes.length) socket.unshift(bytes.subarray(received.consumed));
      return received.value;
    }
    if (bytes.length > options.maxBytes) {
      throw new ChaperoneError('protocol-violation', 'a login message that is too long');
    }
  }
}

/** A message of a login, of either side. */
export interface LoginMessage {
  readonly tag: number;
  readonly frame: Buffer;
  readonly body: Buffer;
}

export interface LoginMessageLimits {
  /** Of the whole message but its tag. */
  readonly maxBytes: number;
  /** The only message that is due, where there is only one. */
  readonly tag?: number;
}

/** Finds one message of a login. @throws ChaperoneError `protocol-violation`. */
export function tryParseLoginMessage(
  bytes: Buffer,
  limits: LoginMessageLimits,
): Received<LoginMessage> | undefined {
  const [tag] = bytes;
  if (tag === undefined || bytes.length < 5) return undefined;
  const length = bytes.readUInt32BE(1);
  if (limits.tag !== undefined && tag !== limits.tag)
    throw new ChaperoneError('protocol-violation', 'found something other than a login message');
  if (length < 4 || length > limits.maxBytes)
    throw new ChaperoneError('protocol-violation', 'found a login message of impossible length');
  const consumed = 1 + length;
  if (bytes.length < consumed) return undefined;
  const frame = bytes.subarray(0, consumed);
  return { value: { tag, frame, body: frame.subarray(5) }, consumed };
}

/** Whether bytes wait that nobody has read: before TLS starts there must be none. */
export function hasUnread(socket: Duplex): boolean {
  return socket.readableLength > 0;
}

async function readable(socket: Duplex, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const closed = (): void => {
    reject(new ChaperoneError('connection-closed', 'the peer closed the connection during login'));
  };
  const aborted = (): void => reject(signal.reason);
  socket.once('readable', resolve).once('end', closed).once('close', closed).once('error', closed);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    if (socket.readableEnded || socket.destroyed) closed();
    await promise;
  } finally {
    socket.off('readable', resolve).off('end', closed).off('close', closed).off('error', closed);
    signal.removeEventListener('abort', aborted);
  }
}
