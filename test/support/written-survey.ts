import assert from 'node:assert/strict';
import { tableAccesses, type TableFact } from '#core/facts.ts';
import type { RelationUse, StatementSurvey } from '#core/postgres/sql/survey.ts';

/** A statement that names nothing. */
export const plain: StatementSurvey = {
  commands: ['SELECT'],
  relations: [],
  functions: [],
  operators: [],
  attributes: [],
  hasWhere: false,
  limit: undefined,
  copy: undefined,
  settings: [],
  changesMeaning: false,
  changesCatalogue: false,
  moves: [],
  makes: [],
  adopts: [],
  changesRights: false,
  readOnly: true,
  isOpaque: false,
  prepares: undefined,
  executes: undefined,
  deallocates: undefined,
};

/** `Read only app.orders(id,total)`; a name without a schema has none. */
export function use(text: string): RelationUse {
  const [, access, only, schema, name = '', columns = '*'] =
    /^(\w+) (only )?(?:([^.(]*)\.)?([^(]*)(?:\((.*)\))?$/.exec(text) ?? [];
  return {
    access: tableAccesses.find((one) => one === access) ?? assert.fail(text),
    only: only !== undefined,
    schema,
    name,
    columns: columns.split(','),
  };
}

/** `Read app.orders(id) by View app.report`. */
export function shown({ access, schema, name, columns, through }: TableFact): string {
  const by = through && ` by ${through.kind} ${through.schema}.${through.name}`;
  return `${access} ${schema ?? '?'}.${name}(${columns.join()})${by ?? ''}`;
}

/** `schema.name`, sorted; `?` for a schema that is not known. */
export const names = (list: readonly { schema: string | undefined; name: string }[]): string[] =>
  list.map(({ schema, name }) => `${schema ?? '?'}.${name}`).sort();

/** A name as it is written; an operator may begin with a dot. */
export const parsed = (text: string): { schema: string | undefined; name: string } => {
  const dot = text.indexOf('.', 1);
  return dot < 1
    ? { schema: undefined, name: text }
    : { schema: text.slice(0, dot), name: text.slice(dot + 1) };
};
