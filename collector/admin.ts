import type { KeyObject } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { uuidPattern } from '#core/uuid.ts';
import type { Identities, Person, Right } from './identity/identities.ts';
import { HttpProblem } from './problem.ts';
import type { Database } from './store/database.ts';
import { erase, type ErasureOrder } from './store/erasure.ts';
import { orderHold, type LegalHold } from './store/legal-hold.ts';
import { searchable } from './store/summary.ts';

export interface AdminOptions {
  readonly database: Database;
  readonly identities: Identities;
  readonly key: KeyObject;
  /** Called when the ledger has grown. */
  readonly onLedgered: () => void;
}

const words = { type: 'string', minLength: 1, maxLength: 1_024 } as const;
const uuid = { type: 'string', pattern: uuidPattern } as const;
const seq = { type: 'integer', minimum: 1 } as const;
const range = { type: 'array', items: seq, minItems: 2, maxItems: 2 } as const;

const erasureBody = {
  type: 'object',
  additionalProperties: false,
  required: ['who', 'why'],
  properties: {
    session: uuid,
    stream: uuid,
    ranges: { type: 'array', items: range, minItems: 1, maxItems: 1_000 },
    who: words,
    why: words,
  },
  oneOf: [
    { required: ['session'], properties: { stream: false, ranges: false } },
    { required: ['stream', 'ranges'], properties: { session: false } },
  ],
} as const;

const holdBody = {
  type: 'object',
  additionalProperties: false,
  required: ['held', 'who', 'why'],
  properties: { held: { type: 'boolean' }, who: words, why: words },
} as const;

/** What operators may order: erasures, and that nothing is dropped or erased. */
export function registerAdmin(
  app: FastifyInstance,
  { database, identities, key, onLedgered }: AdminOptions,
): void {
  app.register((routes, _options, done) => {
    const people = new WeakMap<FastifyRequest, Person>();
    const admit = (right: Right) => async (request: FastifyRequest) => {
      people.set(request, await identities.person(request.headers.authorization, right));
      if (!database.ready) throw new HttpProblem('store-unavailable', 'the database is not ready');
      request.raw.socket.setTimeout(0); // an erasure takes as long as it takes
    };
    /** What somebody says of themselves, with what is known of them. */
    const signed = (request: FastifyRequest, who: string): string => {
      const person = people.get(request);
      return person?.isOwn === true ? `${who} (${searchable(person.name)})` : who;
    };
    routes.post<{ Body: ErasureOrder }>(
      '/v1/erasures',
      { schema: { body: erasureBody }, onRequest: admit('delete') },
      async (request) => {
        const order = { ...request.body, who: signed(request, request.body.who) };
        const erased = await database.transaction((client) => erase(client, key, order));
        if (erased.length > 0) onLedgered();
        return { erased };
      },
    );
    routes.put<{ Body: Omit<LegalHold, 'time'> }>(
      '/v1/legal-hold',
      { schema: { body: holdBody }, onRequest: admit('update') },
      async (request) => {
        const { held, why } = request.body;
        const who = signed(request, request.body.who);
        await database.transaction((client) => orderHold(client, { held, who, why }));
        return { held, who, why };
      },
    );
    done();
  });
}
