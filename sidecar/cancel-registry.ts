import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto';

/** The key that a PostgreSQL client was given to cancel its queries with. */
export interface CancelKey {
  readonly processId: number;
  readonly secret: Buffer;
}

/**
 * Finds the session that a CancelRequest is for. Requests arrive on a connection of their own, so what identifies the
 * session is a key that the sidecar made itself; the backend's key never reaches an agent.
 */
export class CancelRegistry {
  readonly #entries = new Map<number, { readonly secret: Buffer; readonly cancel: () => void }>();

  /** Makes a key of `secretBytes` (4 in protocol 3.0). The returned function withdraws it. */
  register(secretBytes: number, cancel: () => void): { key: CancelKey; withdraw: () => void } {
    let processId = randomInt(1, 0x7fff_ffff);
    while (this.#entries.has(processId)) processId = randomInt(1, 0x7fff_ffff);
    const secret = randomBytes(secretBytes);
    this.#entries.set(processId, { secret, cancel });
    return { key: { processId, secret }, withdraw: () => this.#entries.delete(processId) };
  }

  /** Cancels what the key belongs to; a wrong key does nothing, as PostgreSQL does. */
  cancel(key: CancelKey): boolean {
    const entry = this.#entries.get(key.processId);
    if (!entry || entry.secret.length !== key.secret.length) return false;
    if (!timingSafeEqual(entry.secret, key.secret)) return false;
    entry.cancel();
    return true;
  }
}
