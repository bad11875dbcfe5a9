import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { RecordedRequest } from './recorded-requests.ts';
import { decidedBy, verdictWord } from './verdict-words.ts';

/** What a request would get now. */
export interface Judgement {
  readonly verdict: RecordedVerdict;
  /** Under the same policies, were all of them to enforce. */
  readonly wouldBe: RecordedVerdict;
  readonly hasCatalogue: boolean;
  /** Whether the catalogue lacks a name of it. */
  readonly hasUnknown: boolean;
}

/** Requests that were decided one way, and would be decided another. */
export interface Change {
  readonly was: string;
  readonly wouldBe: string;
  /** Who would decide so. */
  readonly by: string;
  count: number;
  readonly examples: { readonly at: string; readonly text: string }[];
}

/** Why a request cannot be judged: `limited` was refused for what was used before; `noPlace`: the policies know no such place or provider. */
export type WhyNot = 'noText' | 'noSql' | 'limited' | 'noPlace';

/** What came of a replay. */
export interface ReplaySummary {
  readonly requests: number;
  readonly same: number;
  readonly changes: readonly Change[];
  /** Changes of kinds that are not listed, since there are too many. */
  readonly unlisted: number;
  readonly notJudged: Readonly<Record<WhyNot, number>>;
  /** Judged, as what nobody can read. */
  readonly unreadable: number;
  readonly withoutCatalogue: number;
  readonly unknownNames: number;
}

const maxChanges = 1_000;
const maxExamples = 3;
const maxExampleLength = 200;

/** Counts what would change, and keeps a few examples of each change. */
export class ReplayTally {
  readonly #changes = new Map<string, Change>();
  #requests = 0;
  #same = 0;
  #unlisted = 0;
  #unreadable = 0;
  readonly #notJudged: Record<WhyNot, number> = { noText: 0, noSql: 0, limited: 0, noPlace: 0 };
  #withoutCatalogue = 0;
  #unknownNames = 0;

  add(request: RecordedRequest, judged: Judgement): void {
    const { verdict, wouldBe, hasCatalogue, hasUnknown } = judged;
    this.#requests += 1;
    if (!hasCatalogue) this.#withoutCatalogue += 1;
    if (hasUnknown) this.#unknownNames += 1;
    if (wouldBe.reason === 'unreadable') this.#unreadable += 1;
    const was = verdictWord(request.verdict);
    const now = verdictWord(verdict);
    if (was === now) {
      this.#same += 1;
      return;
    }
    this.#note(
      request,
      was,
      now,
      decidedBy(verdict.action === verdict.wouldBe ? verdict : wouldBe),
    );
  }

  /** Notes a request that cannot be judged. */
  skip(why: WhyNot): void {
    this.#requests += 1;
    this.#notJudged[why] += 1;
  }

  summary(): ReplaySummary {
    return {
      requests: this.#requests,
      same: this.#same,
      changes: [...this.#changes.values()].sort((a, b) => b.count - a.count),
      unlisted: this.#unlisted,
      notJudged: this.#notJudged,
      unreadable: this.#unreadable,
      withoutCatalogue: this.#withoutCatalogue,
      unknownNames: this.#unknownNames,
    };
  }

  #note(
    { session, seq, text = '' }: RecordedRequest,
    was: string,
    wouldBe: string,
    by: string,
  ): void {
    const key = JSON.stringify([was, wouldBe, by]);
    const change = this.#changes.get(key) ?? { was, wouldBe, by, count: 0, examples: [] };
    if (change.count === 0) {
      if (this.#changes.size >= maxChanges) {
        this.#unlisted += 1;
        return;
      }
      this.#changes.set(key, change);
    }
    change.count += 1;
    const shown = text.slice(0, maxExampleLength);
    const isNew = change.examples.every((example) => example.text !== shown);
    if (isNew && change.examples.length < maxExamples) {
      change.examples.push({ at: `${session}#${seq}`, text: shown });
    }
  }
}
