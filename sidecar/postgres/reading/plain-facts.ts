import type { PostgresFacts, StatementFacts } from '#core/facts.ts';

const plain: Omit<StatementFacts, 'commands'> = {
  tables: [],
  functions: [],
  hasWhere: undefined,
  limit: undefined,
  copy: undefined,
  settings: [],
  changesMeaning: false,
  readOnly: true,
  isOpaque: false,
};
const opaque = { ...plain, settings: ['*'], changesMeaning: true, readOnly: false, isOpaque: true };

/** Of a text that nobody asks about: only what may pass unread is allowed. */
export const unreadText: PostgresFacts = {
  protocol: 'Postgres',
  statements: [{ ...opaque, commands: ['UNREAD'] }],
};

/** Of an Execute that goes on with a cursor: what that reads was judged when it was declared. */
export const fetch: PostgresFacts = {
  protocol: 'Postgres',
  statements: [{ ...plain, commands: ['FETCH'] }],
};

/** Of a FunctionCall: it names a function by its OID alone. */
export const functionCall: PostgresFacts = {
  protocol: 'Postgres',
  statements: [{ ...opaque, commands: ['FUNCTION CALL'] }],
};

/** Of a statement that is run by a name of which nobody knows what it stands for. */
export const unknownExecute: PostgresFacts = {
  protocol: 'Postgres',
  statements: [{ ...opaque, commands: ['EXECUTE'] }],
};
