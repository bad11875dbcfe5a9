import { hash } from 'node:crypto';
import { answer, unreadProtocol, type Asked, type Question } from '#core/policy/question.ts';
import { Recent } from '#core/record/recent.ts';
import type { Judgement } from './replay-tally.ts';
import type { TextReader } from './text-reader.ts';

/** Judgements that are kept; past it the oldest is made anew should it be asked for again. */
const maxKept = 50_000;

/** What a trial says: a judgement, or that the policies have no place for such a request. */
export type Tried = Judgement | { readonly problem: string };

/** Judges requests by policies that are not in force: the same text of the same principal at the same place once. */
export class PolicyTrial {
  readonly #policies: Asked;
  readonly #reader: Pick<TextReader, 'read'>;
  readonly #kept = new Recent<Tried, string>(maxKept);

  constructor(policies: Asked, reader: Pick<TextReader, 'read'>) {
    this.#policies = policies;
    this.#reader = reader;
  }

  async judge(question: Question): Promise<Tried> {
    const { backend, database, text, who } = question;
    const key = hash('sha256', JSON.stringify([backend, database, text, who]), 'base64');
    const known = this.#kept.get(key);
    if (known) return known;
    const judged = await this.#judgeAnew(question);
    this.#kept.set(key, judged);
    return judged;
  }

  async #judgeAnew(question: Question): Promise<Tried> {
    const isTcp = this.#policies.bundle.backends.get(question.backend)?.protocol === 'TCP';
    const understood = isTcp ? unreadProtocol : await this.#reader.read(question);
    const answered = answer(this.#policies, question, understood);
    if (answered.problem !== undefined) return answered;
    const { verdict, wouldBe } = answered.explanation;
    return {
      verdict: verdict.recorded,
      wouldBe: wouldBe.recorded,
      hasCatalogue: isTcp || understood.hasCatalogue, // where there are no names, none is missed
      hasUnknown: understood.unknown.length > 0,
    };
  }
}
