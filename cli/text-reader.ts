import { ChaperoneError } from '#core/errors.ts';
import type { Question, Understood } from '#core/policy/question.ts';
import { Grammar } from '../sidecar/postgres/grammar/grammar.ts';
import { readLoneText } from '../sidecar/postgres/reading/lone-text.ts';
import type { Instance } from './instance.ts';
import { SidecarClient } from './sidecar-client.ts';

const deadlineMs = 2_000; // nobody waits behind it

/**
 * Says what texts do: by the catalogues that a running sidecar has, and where none runs, or it knows no such backend, by the
 * grammar alone. Recorded texts are hostile, so that even here they are read in a thread.
 */
export class TextReader implements AsyncDisposable {
  readonly #grammar = new Grammar({ deadlineMs });
  #sidecar: SidecarClient | undefined;

  constructor(instance: Instance | undefined) {
    this.#sidecar = instance && new SidecarClient(instance.sidecar.adminSocket);
  }

  async read(question: Pick<Question, 'backend' | 'database' | 'text'>): Promise<Understood> {
    const told = await this.#ask(question);
    if (told) return told;
    return readLoneText(question.text, {
      grammar: this.#grammar,
      catalogue: undefined,
      currentUser: '',
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#grammar.stop();
  }

  async #ask(
    question: Pick<Question, 'backend' | 'database' | 'text'>,
  ): Promise<Understood | undefined> {
    try {
      const told = await this.#sidecar?.read(question);
      return told && 'facts' in told ? told : undefined;
    } catch (error) {
      if (!(error instanceof ChaperoneError)) throw error;
      this.#sidecar = undefined; // it is gone, and is not asked for each text again
      return undefined;
    }
  }
}

/** What is assumed where no catalogue says what names stand for. */
export const withoutCatalogue =
  'no catalogue says what names stand for: one without a schema may be in any, so that an Allow that names a schema does not cover it, and views are not followed';
