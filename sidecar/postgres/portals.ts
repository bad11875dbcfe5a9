import type { Permit } from '../gate.ts';

/** A driver binds and executes at once. Past this many the oldest is taken as never executed. */
const maxPortals = 10_000;

/** Portals that exist at the backend and have not run to their end, by their operation. */
export class Portals {
  readonly #states = new Map<Permit, 'bound' | 'suspended'>();

  get any(): boolean {
    return this.#states.size > 0;
  }

  hold(permit: Permit, state: 'bound' | 'suspended'): void {
    this.#states.set(permit, state);
    if (this.#states.size <= maxPortals) return;
    for (const oldest of this.#states.keys()) {
      oldest.finish({ status: 'not-executed' });
      this.#states.delete(oldest);
      return;
    }
  }

  /** It has run to its end, and its result is written. */
  delete(permit: Permit): void {
    this.#states.delete(permit);
  }

  /** Portals end with their transaction, and with their connection. */
  endAll(): void {
    for (const [permit, state] of this.#states) {
      permit.finish({ status: state === 'bound' ? 'not-executed' : 'ok' });
    }
    this.#states.clear();
  }
}
