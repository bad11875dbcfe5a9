import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { statementKinds } from '../../../../core/postgres/sql/survey-tree.ts';

/** Nodes that are called statements, but that no text is on its own. */
const parts = ['PLAssignStmt', 'RawStmt', 'ReplicaIdentityStmt', 'ReturnStmt', 'SetOperationStmt'];

function kindsOfParser(): readonly string[] {
  const entry = createRequire(import.meta.url).resolve('@pgsql/types');
  const types = readFileSync(join(dirname(entry), 'types.d.ts'), 'utf8');
  return Array.from(types.matchAll(/^export interface (\w+Stmt) /gm), ([, kind = '']) => kind);
}

test("knows every kind of statement among the parser's own types, and no other", () => {
  const kinds = kindsOfParser().filter((kind) => !parts.includes(kind));
  assert.ok(kinds.length > 100);
  assert.deepEqual([...statementKinds].toSorted(), kinds.toSorted());
});
