import type { PostgresFacts, StatementFacts } from '#core/facts.ts';
import { largeObjectFunctions } from '#core/postgres/large-object-functions.ts';
import { anyEffects, noEffects } from './effects.ts';
import type { Reading } from './readings.ts';

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

/** Of a FunctionCall, which names a function by its OID alone: those of large objects are known, others may do anything. */
export function functionCall(body: Buffer): Pick<Reading, 'effects'> & { facts: PostgresFacts } {
  const called = largeObjectFunctions.get(body.length < 4 ? 0 : body.readUInt32BE());
  const does = called
    ? { facts: { ...plain, functions: [called], readOnly: false }, effects: noEffects }
    : { facts: opaque, effects: anyEffects };
  return {
    facts: { protocol: 'Postgres', statements: [{ ...does.facts, commands: ['FUNCTION CALL'] }] },
    effects: does.effects,
  };
}

/** Of a statement that is run by a name of which nobody knows what it stands for. */
export const unknownExecute: PostgresFacts = {
  protocol: 'Postgres',
  statements: [{ ...opaque, commands: ['EXECUTE'] }],
};

/** Of a text that is not held. */
export const tooLong = { protocol: 'Unreadable', because: 'too long' } as const;

/** Of a portal whose statement PostgreSQL looks up names for as it runs. */
export const boundBefore = {
  protocol: 'Unreadable',
  because: 'its names may mean something else than when it was bound',
} as const;
