import type { AddedOperator, Catalogue, FunctionName, Relation } from './catalogue.ts';
import type { Meaning, NameUse } from './survey.ts';

/** A schema in which a name is looked for, and whether it is certain that PostgreSQL looks into it. */
interface Place {
  readonly schema: string;
  readonly certain: boolean;
}

const system = 'pg_catalog';
const temporary = 'pg_temp';

/**
 * Finds what names stand for as PostgreSQL does (namespace.c): along `search_path`, with pg_catalog before it where it is
 * not in it, and without schemas that are not there or that the role may not use. Where it cannot be said which of
 * several PostgreSQL takes, all of them are found.
 */
export class Scope {
  readonly #catalogue: Catalogue;
  /** With pg_catalog, without pg_temp. */
  readonly #places: readonly Place[];
  readonly #named: readonly Place[];

  constructor(meaning: Meaning, catalogue: Catalogue) {
    this.#catalogue = catalogue;
    this.#named = placesOf(meaning, catalogue);
    const listed = this.#named.some(({ schema }) => schema === system);
    this.#places = listed ? this.#named : [{ schema: system, certain: true }, ...this.#named];
  }

  /** Relations that a name may stand for; a temporary one may be another session's, so others are found as well. */
  relations({ schema, name }: NameUse): readonly Relation[] {
    if (schema !== undefined) return this.#catalogue.relations(plainSchema(schema), name);
    const found = [...this.#catalogue.relations(temporary, name)];
    for (const { schema: place, certain } of this.#places) {
      const there = this.#catalogue.relations(place, name);
      found.push(...there);
      if (there.length > 0 && certain) break;
    }
    return found;
  }

  /**
   * Functions that a name may stand for, one a schema. Schemas further down the path count as well: which overload is
   * called is decided by the types of the arguments before it is decided by the path.
   */
  functions({ schema, name }: NameUse): readonly FunctionName[] {
    const places = schema === undefined ? this.#places.map((place) => place.schema) : [schema];
    return places
      .map((place) => ({ schema: plainSchema(place), name }))
      .filter((fn) => this.#catalogue.volatility(fn.schema, name) !== undefined);
  }

  /** Operators that somebody added; those that PostgreSQL brings are not here. */
  operators({ schema, name }: NameUse): readonly AddedOperator[] {
    return this.#catalogue
      .operators(name)
      .filter((operator) =>
        schema === undefined
          ? this.#places.some((place) => place.schema === operator.schema)
          : operator.schema === schema,
      );
  }

  /**
   * Functions that a name after a dot may call. PostgreSQL's own that take any row at all, such as count, tell nothing
   * but the row.
   */
  attributes(name: string): readonly FunctionName[] {
    return this.#catalogue
      .ofRows(name)
      .filter(
        (schema) => schema !== system && this.#places.some((place) => place.schema === schema),
      )
      .map((schema) => ({ schema, name }));
  }

  /** Schemas in which a new relation without a schema may come to be. */
  get creation(): readonly string[] {
    const certain = this.#named.findIndex((place) => place.certain);
    const candidates = certain < 0 ? this.#named : this.#named.slice(0, certain + 1);
    return candidates.map(({ schema }) => schema);
  }
}

/** Each session's schema of temporary relations has a number, and may be named by it. */
export function plainSchema(schema: string): string {
  return /^pg_temp_\d+$/.test(schema) ? temporary : schema;
}

function placesOf({ searchPath, currentUser }: Meaning, catalogue: Catalogue): readonly Place[] {
  const places = new Map<string, Place>();
  for (const written of searchPath) {
    const schema = written === '$user' || written === '"$user"' ? currentUser : written;
    if (places.has(schema) || !catalogue.hasSchema(schema)) continue;
    const usable = schema === system ? true : catalogue.mayUse(currentUser, schema);
    if (usable !== false) places.set(schema, { schema, certain: usable === true });
  }
  return [...places.values()];
}
