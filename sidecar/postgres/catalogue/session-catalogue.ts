import type { Catalogue } from '#core/postgres/sql/catalogue.ts';
import type { LaneHost, Target } from '../../lane.ts';
import type { CatalogueUse } from './databases.ts';

/** The catalogue of one session's database: held from when it is first asked for, until the session ends. */
export class SessionCatalogue implements Disposable {
  readonly #hold: () => CatalogueUse;
  #use: CatalogueUse | undefined;

  constructor(target: Target, host: LaneHost, database: string) {
    this.#hold = () => host.databases.use(target, host, database);
  }

  get current(): Catalogue | undefined {
    return this.#held.catalogue.current;
  }

  load(): Promise<void> {
    return this.#held.catalogue.load();
  }

  [Symbol.dispose](): void {
    this.#use?.release();
  }

  get #held(): CatalogueUse {
    this.#use ??= this.#hold();
    return this.#use;
  }
}
