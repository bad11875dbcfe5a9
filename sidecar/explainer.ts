import {
  answer,
  noSuch,
  unreadProtocol,
  type Answer,
  type Asked,
  type Question,
  type Understood,
} from '#core/policy/question.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { CatalogueSource } from './postgres/reading/reader.ts';
import { readLoneText, type LoneTextOptions } from './postgres/reading/lone-text.ts';

/** One question's hold on the catalogue of a database. */
export interface CatalogueHold {
  readonly catalogue: CatalogueSource;
  readonly release: () => void;
}

export interface ExplainerOptions {
  /** Policies in force; undefined where there are none yet. */
  readonly asked: () => Asked | undefined;
  readonly grammar: LoneTextOptions['grammar'];
  /** Whom sessions log in to a backend as; undefined where that is the agent's own login. */
  readonly loginUser: (backend: ResolvedBackend) => string | undefined;
  /** By the database's name at the upstream. */
  readonly holdCatalogue: (backend: ResolvedBackend, database: string) => CatalogueHold;
}

/** Says what a text does, or why nobody can say it. */
export type Told = Understood | { readonly problem: string };

/** Answers operators who ask what would become of a text, by the policies in force and the catalogues of databases. */
export class Explainer {
  readonly #options: ExplainerOptions;

  constructor(options: ExplainerOptions) {
    this.#options = options;
  }

  async explain(question: Question): Promise<Answer> {
    const asked = this.#options.asked();
    if (!asked) return { problem: 'no policies have been read yet' };
    const told = await this.read(question);
    return 'problem' in told ? told : answer(asked, question, told);
  }

  /** Says what a text does, whoever sends it. */
  async read({
    backend: name,
    database,
    text,
  }: Pick<Question, 'backend' | 'database' | 'text'>): Promise<Told> {
    const backends = this.#options.asked()?.bundle.backends;
    const backend = backends?.get(name);
    if (!backend) return { problem: noSuch('Backend', name, [...(backends?.keys() ?? [])]) };
    if (backend.protocol === 'TCP') return unreadProtocol;
    const { grammar, loginUser, holdCatalogue } = this.#options;
    const currentUser = loginUser(backend) ?? '';
    const there =
      database === undefined ? undefined : (backend.postgres.databases.get(database) ?? database);
    const hold = there === undefined ? undefined : holdCatalogue(backend, there);
    try {
      const { catalogue } = hold ?? { catalogue: undefined };
      if (catalogue && !catalogue.current) await catalogue.load();
      return await readLoneText(text, { grammar, catalogue, currentUser });
    } finally {
      hold?.release();
    }
  }
}
