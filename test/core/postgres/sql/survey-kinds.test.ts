import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import { commandTags } from '../../../../core/postgres/sql/command-tags.ts';
import { statementKinds } from '../../../../core/postgres/sql/survey-tree.ts';
import { surveyText } from '../../../support/survey-notation.ts';
import { allRows } from './rows/all.ts';

/** Nodes that are called statements, but that no text is on its own. */
const parts = ['PLAssignStmt', 'RawStmt', 'ReplicaIdentityStmt', 'ReturnStmt', 'SetOperationStmt'];

/** The kinds of statements that the parser's own types name. */
function kindsOfParser(): readonly string[] {
  const parser = createRequire(import.meta.url).resolve('libpg-query');
  const entry = createRequire(parser).resolve('@pgsql/types');
  const types = readFileSync(join(dirname(entry), 'types.d.ts'), 'utf8');
  return Array.from(types.matchAll(/^export interface (\w+Stmt) /gm), ([, kind = '']) => kind)
    .filter((kind) => !parts.includes(kind))
    .toSorted();
}

describe("of the kinds of statements that PostgreSQL's grammar makes", () => {
  before(loadModule);

  test('each has a handler, and nothing else has', () => {
    assert.ok(kindsOfParser().length > 100);
    assert.deepEqual([...statementKinds].toSorted(), kindsOfParser());
  });

  test('the commands are those that rules may name, and FUNCTION CALL, which is a message', () => {
    const shown = allRows.flatMap(([text]) =>
      surveyText(text).statements.flatMap(({ commands }) => commands),
    );
    assert.deepEqual(
      [...new Set([...shown, 'FUNCTION CALL'])].toSorted(),
      [...commandTags].toSorted(),
    );
  });

  test('each is in one of the texts whose surveys are tested', () => {
    const trees = allRows.flatMap(([text]) => parseSync(text).stmts ?? []);
    const kinds = new Set(trees.map(({ stmt }) => Object.keys(stmt ?? {})[0] ?? ''));
    assert.deepEqual([...kinds].toSorted(), kindsOfParser());
  });
});
