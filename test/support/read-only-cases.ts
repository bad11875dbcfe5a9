import { buildSync } from '#core/postgres/frontend.ts';
import type { BypassCase } from './bypass-cases.ts';
import { bind, parse } from './extended-query.ts';

const change = 'INSERT INTO victim VALUES (2)';

/** Ways to change something where nothing may be changed. */
export const readOnlyCases: readonly BypassCase[] = [
  { what: 'a plain change', steps: [change] },
  { what: 'BEGIN READ WRITE', steps: ['BEGIN READ WRITE', change, 'COMMIT'] },
  { what: 'BEGIN READ WRITE in one text', steps: [`BEGIN READ WRITE; ${change}; COMMIT`] },
  {
    what: 'START TRANSACTION',
    steps: ['BEGIN; COMMIT; START TRANSACTION READ WRITE', change, 'COMMIT'],
  },
  {
    what: 'SET TRANSACTION READ WRITE',
    steps: ['BEGIN READ ONLY', 'SET TRANSACTION READ WRITE', change, 'COMMIT'],
  },
  {
    what: 'SET SESSION CHARACTERISTICS',
    steps: ['SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE', change],
  },
  {
    what: 'SET default_transaction_read_only',
    steps: ['SET default_transaction_read_only = off', change],
  },
  {
    what: 'SET transaction_read_only',
    steps: ['BEGIN READ ONLY', 'SET transaction_read_only = off', change, 'COMMIT'],
  },
  { what: 'RESET', steps: ['SET default_transaction_read_only = on', 'RESET ALL', change] },
  {
    what: 'off at the login',
    steps: [change],
    startup: { options: '-c default_transaction_read_only=off' },
  },
  {
    what: 'COPY TO PROGRAM within READ ONLY',
    steps: ['BEGIN READ ONLY', `COPY orders TO PROGRAM 'cat > $FILE'`, 'COMMIT'],
  },
  {
    what: 'COPY TO a file within READ ONLY',
    steps: ['BEGIN READ ONLY', `COPY orders TO '$FILE'`, 'COMMIT'],
  },
  { what: 'a function', steps: ['SELECT zap()'] },
  { what: 'a wrapper that says it is immutable', steps: ['SELECT calm(1)'] },
  { what: 'an operator', steps: ['SELECT 1 @#@ 2'] },
  {
    what: 'a CTE that writes',
    steps: ['WITH w AS (DELETE FROM victim RETURNING id) SELECT * FROM w'],
  },
  { what: 'EXPLAIN ANALYZE', steps: ['EXPLAIN ANALYZE DELETE FROM victim'] },
  { what: 'EXECUTE', steps: [`PREPARE s AS ${change}`, 'EXECUTE s'] },
  { what: 'SELECT INTO', steps: ['SELECT * INTO taken FROM victim; DROP TABLE victim'] },
  {
    what: 'a function that writes files',
    steps: [`SELECT lo_from_bytea(99, 'x'); SELECT lo_export(99, '$FILE')`],
  },
  { what: 'XML of a function', steps: [`SELECT query_to_xml('SELECT zap()', true, false, '')`] },
  { what: 'code at Bind', steps: [[parse('s', 'SELECT calm(1)'), bind('s'), buildSync()]] },
  {
    what: 'pg_notify within READ ONLY',
    steps: ['BEGIN READ ONLY', `SELECT pg_notify('case', 'x')`, 'COMMIT'],
  },
  { what: 'NOTIFY', steps: [`NOTIFY "case", 'x'`] },
];

/** The same ways, where PostgreSQL itself refuses them late in a transaction. */
export const refusedByBoth: readonly BypassCase[] = [
  {
    what: 'set_config',
    steps: [
      'BEGIN READ ONLY',
      `SELECT set_config('transaction_read_only', 'off', true)`,
      change,
      'COMMIT',
    ],
  },
  {
    what: 'set_config of a built name',
    steps: [
      'BEGIN READ ONLY',
      `SELECT set_config('transaction_' || 'read_only', 'off', true)`,
      change,
      'COMMIT',
    ],
  },
  {
    what: 'UPDATE of pg_settings',
    steps: [
      'BEGIN READ ONLY',
      `UPDATE pg_settings SET setting = 'off' WHERE name = 'transaction_read_only'`,
      change,
      'COMMIT',
    ],
  },
];
