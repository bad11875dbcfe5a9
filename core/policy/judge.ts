import type { Facts } from '../facts.ts';
import type { Unreadable } from '../operation.ts';
import type { Asker, CompiledPolicies } from './compile.ts';
import { caseOf, decideCase, type Case, type Verdict } from './decide.ts';

/**
 * Decides for one asker at one backend under one revision of the policies. Facts that a lane keeps for a text are decided once.
 */
export class Judge {
  readonly #case: Case;
  readonly #decided = new WeakMap<Facts | Unreadable, Verdict>();

  constructor(compiled: CompiledPolicies, asker: Asker) {
    this.#case = caseOf(compiled, asker);
  }

  /** Facts must not change once they were decided on. */
  decide(facts: Facts | Unreadable): Verdict {
    const known = this.#decided.get(facts);
    if (known) return known;
    const verdict = decideCase(this.#case, facts);
    this.#decided.set(facts, verdict);
    return verdict;
  }
}
