import type { Row } from '../../../../support/survey-notation.ts';
import { changes } from './changes.ts';
import { objectDefinitions } from './objects.ts';
import { queries } from './queries.ts';
import { sessionStatements } from './session.ts';
import { tableDefinitions } from './tables.ts';

/** Every table of texts and what they show, by what the texts do. */
export const tables = {
  'queries, and what they read': queries,
  'changes of rows, and what they read for it': changes,
  'definitions of tables and what belongs to them': tableDefinitions,
  'definitions of all other objects': objectDefinitions,
  'settings, transactions, prepared statements and cursors': sessionStatements,
} as const satisfies Record<string, readonly Row[]>;

/** The rows of all tables. */
export const allRows: readonly Row[] = Object.values(tables).flat();
