import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import {
  buildClose,
  buildCopyFail,
  buildDescribe,
  buildExecute,
  buildFlush,
  buildQuery,
  buildSync,
} from '#core/postgres/frontend.ts';
import type { RecordRef } from '#core/operation.ts';
import type { Permit } from '../gate.ts';
import type { Outlet, Session } from '../lane.ts';
import { AdjacentWriter } from './adjacent.ts';
import type { SettingsQuery } from './reading/settings-query.ts';

/** Messages without content of their own but a name: the only ones that go up under no permit. */
export type Control =
  | {
      readonly kind: 'sync' | 'flush' | 'describe' | 'close' | 'terminate';
      readonly frame: Buffer;
      /** Holds the name, where no other record does. */
      readonly record?: RecordRef | undefined;
    }
  | { readonly kind: 'poison' | 'poison-query' | 'own-sync' | 'own-flush' | 'own-close' }
  | { readonly kind: 'own-describe'; readonly portal: string }
  | { readonly kind: 'own-query'; readonly query: SettingsQuery }
  | { readonly kind: 'copy-fail'; readonly reason: string };

/** A name that no portal has, and that nobody can guess. */
function unknownName(): string {
  return `chaperone_${randomBytes(16).toString('hex')}`;
}

/** The only way to the backend after login. */
export class PostgresOutlet implements Outlet<Buffer, Control> {
  readonly #upstream: AdjacentWriter;
  readonly #session: Pick<Session, 'isCleared'>;

  constructor(upstream: Duplex, session: Pick<Session, 'isCleared'>) {
    this.#upstream = new AdjacentWriter(upstream);
    this.#session = session;
  }

  /** Sends an operation's message as the agent wrote it. */
  send(under: Permit, message: Buffer, record: RecordRef): undefined {
    this.#assertCleared(under.ref);
    if (record !== under.ref) this.#assertCleared(record);
    return this.#write(message);
  }

  control(message: Control): undefined {
    switch (message.kind) {
      case 'poison':
        return this.#write(buildExecute(unknownName(), 0));
      case 'poison-query':
        return this.#write(buildQuery(`CLOSE ${unknownName()}`));
      case 'own-close':
        return this.#write(buildClose({ kind: 'statement', name: '' }));
      case 'own-sync':
        return this.#write(buildSync());
      case 'own-flush':
        return this.#write(buildFlush());
      case 'own-describe':
        return this.#write(buildDescribe({ kind: 'portal', name: message.portal }));
      case 'own-query':
        return this.#write(message.query.frames);
      case 'copy-fail':
        return this.#write(buildCopyFail(message.reason));
      default:
        if (message.record) this.#assertCleared(message.record);
        return this.#write(message.frame);
    }
  }

  /** Hands what was sent to the socket: once for all that goes up together. */
  flush(): void {
    this.#upstream.flush();
  }

  #write(bytes: Buffer): undefined {
    this.#upstream.add(bytes);
    return undefined;
  }

  /** The lane waits for clearance before it comes here; this is the wall behind that rule. */
  #assertCleared(record: RecordRef): void {
    if (!this.#session.isCleared(record))
      throw new ChaperoneError('audit-unavailable', 'an operation is not recorded');
  }
}
