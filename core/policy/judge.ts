import type { Facts } from '../facts.ts';
import type { Unreadable } from '../operation.ts';
import type { Asker, CompiledPolicies } from './compile.ts';
import { mayChangePinned, namesOfPinned } from './pinned.ts';
import { caseOf, decideCase, type Case, type Verdict } from './decide.ts';

/**
 * Decides for one asker at one backend under one revision of the policies. Facts that a lane keeps for a text are decided once.
 */
export class Judge {
  readonly #case: Case;
  readonly #pinned: ReadonlySet<string>;
  readonly #decided = new WeakMap<Facts | Unreadable, Verdict>();

  constructor(compiled: CompiledPolicies, asker: Asker) {
    this.#case = caseOf(compiled, asker);
    const settings = compiled.backends.get(asker.backend)?.postgres.settings ?? [];
    this.#pinned = namesOfPinned(settings.map(({ name }) => name));
  }

  /** Whether it matters what operations do: without rules and pinned settings, they need not be read. */
  get readsFacts(): boolean {
    return this.#case.enforced.length + this.#case.observed.length > 0 || this.#pinned.size > 0;
  }

  /** Facts must not change once they were decided on. */
  decide(facts: Facts | Unreadable): Verdict {
    const known = this.#decided.get(facts);
    if (known) return known;
    const verdict = this.#decideAnew(facts);
    this.#decided.set(facts, verdict);
    return verdict;
  }

  /** What the gateway has set at login holds whatever policies say: databases trust it. */
  #decideAnew(facts: Facts | Unreadable): Verdict {
    const { revision, asker } = this.#case;
    if (!mayChangePinned(this.#pinned, facts)) return decideCase(this.#case, facts);
    return {
      recorded: {
        action: 'Deny',
        wouldBe: 'Deny',
        reason: hasMistake(facts) ? 'unreadable' : 'pinned-setting',
        policy: `Backend/${asker.backend}`,
        revision,
      },
      message: undefined,
      uncovered: [],
    };
  }
}

function hasMistake(facts: Facts | Unreadable): boolean {
  return facts.protocol === 'Unreadable' && facts.error !== undefined;
}
