import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRefusal } from '#core/operation.ts';
import { BackendTag, buildErrorResponse } from '#core/postgres/backend.ts';
import type { Permit } from '../../../sidecar/gate.ts';
import type { Effect, Item, Reply } from '../../../sidecar/postgres/items.ts';
import { Pipeline } from '../../../sidecar/postgres/pipeline.ts';
import { noEffects } from '../../../sidecar/postgres/reading/effects.ts';
import { SettingsQuery } from '../../../sidecar/postgres/reading/settings-query.ts';
import type { Statement } from '../../../sidecar/postgres/statements.ts';
import type { LiveSession } from '../../../sidecar/session.ts';
import { openSession, openSpool } from '../../support/sidecar-session.ts';

const refusal = { code: 'denied', message: 'no' } as const;
const frame = (name: string): Buffer => Buffer.from(name);
const error = buildErrorResponse({
  severity: 'ERROR',
  code: '22012',
  message: 'division by zero',
}).subarray(5);
const bodies = new Map<string, Buffer>([
  ['I', Buffer.from('I')],
  ['T', Buffer.from('T')],
  ['E', Buffer.from('E')],
]);

function permit(session: LiveSession, kind: 'request' | 'statement' = 'request'): Permit {
  const answer = session.admit({ kind, facts: { protocol: 'Postgres', statements: [] } });
  assert.ok(!isRefusal(answer));
  return answer;
}

/** One letter a message of the agent: Q P B E D S H C, and R (refused), r (refused Query). */
function itemOf(session: LiveSession, letter: string, bound: Permit): Item {
  const statement: Statement = {
    ref: undefined,
    remembered: undefined,
    fixed: true,
    renames: 'nothing',
    layout: 'none',
  };
  switch (letter) {
    case 'Q':
      return {
        kind: 'query',
        permit: permit(session),
        change: { applied: false },
        frame: frame('Q'),
        open: false,
      };
    case 'P':
      return {
        kind: 'parse',
        permit: permit(session, 'statement'),
        change: { applied: false },
        frame: frame('P'),
        open: false,
      };
    case 'B':
      return { kind: 'bind', permit: bound, frame: frame('B'), open: false };
    case 'E':
      return {
        kind: 'execute',
        permit: bound,
        portal: { permit: bound, statement, effects: noEffects, changes: 0, described: false },
        name: '',
        cursor: false,
        frame: frame('E'),
      };
    case 'D':
      return {
        kind: 'describe-portal',
        portal: { permit: bound, statement, effects: noEffects, changes: 0, described: false },
        record: undefined,
        frame: frame('D'),
      };
    case 'S':
      return { kind: 'sync', frame: frame('S') };
    case 'H':
      return { kind: 'flush', frame: frame('H') };
    case 'C':
      return { kind: 'close', record: undefined, frame: frame('C') };
    case 'A':
      return { kind: 'own-query', query: new SettingsQuery() };
    case 'r':
      return { kind: 'refused', simple: true, refusal };
    default:
      return { kind: 'refused', simple: false, refusal };
  }
}

const shown = (effect: Effect): string => {
  if (effect.kind === 'send') return effect.frame.toString();
  if (effect.kind === 'control')
    return 'frame' in effect.control ? effect.control.frame.toString() : effect.control.kind;
  const tags = effect.bytes.toString('latin1');
  return tags.startsWith('Z')
    ? `answer Z${tags.at(-1)}`
    : tags.includes('Z\0\0\0\x05')
      ? 'answer error Z'
      : 'answer error';
};

/** Runs a script: letters of the agent, and in brackets tags of the backend such as [1] [2] [C] [!] (error) [ZI]. */
function play(script: string): { effects: string[]; replies: Reply[]; pipeline: Pipeline } {
  using spool = openSpool();
  const session = openSession(spool.writer);
  const pipeline = new Pipeline();
  const bound = permit(session);
  const effects: string[] = [];
  const replies: Reply[] = [];
  for (const [, reply, letter] of script.matchAll(/\[([^\]]+)\]|(\S)/g)) {
    if (letter !== undefined)
      effects.push(...pipeline.forward(itemOf(session, letter, bound)).map(shown));
    else if (reply === '!') replies.push(pipeline.reply(BackendTag.ErrorResponse, error));
    else if (reply?.startsWith('Z'))
      replies.push(pipeline.reply(BackendTag.ReadyForQuery, bodies.get(reply.slice(1))));
    else
      replies.push(
        pipeline.reply(
          reply?.charCodeAt(0) ?? 0,
          reply === 'D' || reply === 'd' ? undefined : Buffer.from(`${reply?.slice(2) ?? ''}\0`),
        ),
      );
  }
  return { effects, replies, pipeline };
}

/** All that the backend answers to a query of the lane's own. */
const answered = '[1] [2] [D] [C] [3] [3]'.repeat(5);

describe('Pipeline', () => {
  const cases: [what: string, script: string, effects: string[]][] = [
    ['sends a Query as it came', 'Q', ['Q']],
    ['sends a pipeline as it came', 'P B D E S', ['P', 'B', 'D', 'E', 'S']],
    ['answers a refused Query by itself when nothing is under way', 'r', ['answer error Z']],
    ['goes on after a refused Query', 'r Q', ['answer error Z', 'Q']],
    [
      'answers a refused message by itself, and its Sync, when nothing went up',
      'R S',
      ['answer error', 'answer ZI'],
    ],
    [
      'drops what follows a refused message up to its Sync',
      'R P B E S Q',
      ['answer error', 'answer ZI', 'Q'],
    ],
    [
      'drops a Query behind a refused message, as the backend would',
      'R Q S',
      ['answer error', 'answer ZI'],
    ],
    [
      'makes the backend fail in the place of a refused message',
      'P B R E S',
      ['P', 'B', 'poison', 'S'],
    ],
    ['makes the backend fail for a refused Query behind others', 'Q r', ['Q', 'poison-query']],
    [
      'makes the backend fail for a refused Query in a transaction',
      'Q [C] [ZT] r',
      ['Q', 'poison-query'],
    ],
    [
      'makes the backend fail for a refused message in a transaction',
      'Q [C] [ZT] R S',
      ['Q', 'poison', 'S'],
    ],
    ['drops what follows an error up to its Sync', 'P [!] B E S', ['P', 'S']],
    ['does not drop what follows the Sync of an error', 'P S B [!] E S', ['P', 'S', 'B', 'E', 'S']],
    [
      'drops what follows an error that came unasked within a segment',
      'P H [1] [!] B E S Q',
      ['P', 'H', 'S', 'Q'],
    ],
    ['minds no error that came unasked between segments', 'P S [1] [ZI] [!] P', ['P', 'S', 'P']],
    ['asks for settings with a Sync of its own between pipelines', 'A', ['own-query', 'own-sync']],
    ['asks for settings without a Sync behind what was executed in one', 'E H [C] A', ['E', 'H', 'own-query', 'own-flush']], // prettier-ignore
    ['asks with a Sync where nothing was executed yet, or a Query would join the asking', 'P H [1] A', ['P', 'H', 'own-query', 'own-sync']], // prettier-ignore
    ['asks with a Sync behind the end of a transaction', 'E H [C COMMIT] A', ['E', 'H', 'own-query', 'own-sync']], // prettier-ignore
    ['asks without a Sync behind a Query that has joined what was executed', 'E H [C] Q [C] [ZT] A', ['E', 'H', 'Q', 'own-query', 'own-flush']], // prettier-ignore
    ['asks with a Sync in a transaction that a Query has begun', 'Q [C] [ZT] A', ['Q', 'own-query', 'own-sync']], // prettier-ignore
    ['asks without a Sync where that would end a portal', 'B H [2] A', ['B', 'H', 'own-query', 'own-flush']], // prettier-ignore
    ['keeps a Query from joining what only the lane has begun', `B H [2] A ${answered} Q`, ['B', 'H', 'own-query', 'own-flush', 'own-sync', 'Q']], // prettier-ignore
    ['lets a Query join what an Execute behind the asking has begun', `B H [2] A ${answered} E Q`, ['B', 'H', 'own-query', 'own-flush', 'E', 'Q']], // prettier-ignore
    ['asks nothing where the backend would not answer', 'P [!] A S', ['P', 'S']],
    ['drops what follows a query of its own that failed within a pipeline', 'E H [C] A [!] B E S Q', ['E', 'H', 'own-query', 'own-flush', 'S', 'Q']], // prettier-ignore
    ['goes on after a query of its own that failed between two', 'A [!] [ZI] P', ['own-query', 'own-sync', 'P']], // prettier-ignore
    ['is clean again after a Sync', 'P S [1] [ZI] r', ['P', 'S', 'answer error Z']],
  ];
  for (const [what, script, effects] of cases) {
    test(`${what}: ${script}`, () => assert.deepEqual(play(script).effects, effects));
  }

  test('takes the answer to a Sync behind a COPY that failed before it read anything', () => {
    const { replies, pipeline, effects } = play('B E S [2] [G] [!] [ZI] r');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['acknowledgement', 'answer', 'answer', 'ready'],
    );
    assert.equal(effects.at(-1), 'answer error Z');
    assert.equal(pipeline.idle, true);
  });

  test('takes no answer to a Sync that a COPY has read', () => {
    assert.throws(() => play('B E S [2] [G] [C] [ZI]'), { code: 'protocol-violation' });
  });

  test('puts the refusal in the place of the error that it provoked', () => {
    const { replies, pipeline } = play('P B R S [1] [2] [!] [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['acknowledgement', 'acknowledgement', 'replaced', 'ready'],
    );
    assert.equal(pipeline.idle, true);
  });

  test('lets the backend’s own error stand when it comes before the refused message', () => {
    const { replies } = play('P B R S [1] [!] [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['acknowledgement', 'answer', 'ready'],
    );
  });

  test('gives every row to the operation that asked for it', () => {
    const { replies } = play('B D E S [2] [T] [D] [D] [C] [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['acknowledgement', 'answer', 'answer', 'answer', 'answer', 'ready'],
    );
  });

  test('keeps answers to a query of its own from the agent', () => {
    const { replies, pipeline } = play('A [1] [2] [D] [C] [3] [3]');
    assert.deepEqual([...new Set(replies.map(({ kind }) => kind))], ['own']);
    assert.equal(pipeline.mayAsk, false);
  });

  test('keeps the error and the end of a query of its own between pipelines from the agent', () => {
    const { replies, pipeline } = play('A [!] [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['own', 'own'],
    );
    assert.equal(pipeline.mayAsk, true);
  });

  test('tells the agent of an error to a query of its own within a pipeline, which fails by it', () => {
    const { replies } = play('E H [C] A [!] S [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['answer', 'aside', 'ready'],
    );
  });

  test('is in a transaction up to the Sync of a pipeline, and in a failed one behind an error', () => {
    assert.equal(play('P H [1]').pipeline.status, 'T');
    assert.equal(play('P [!]').pipeline.status, 'E');
    assert.equal(play('P S [1] [ZI]').pipeline.status, 'I');
    assert.equal(play('Q [C] [ZT] P').pipeline.status, 'T');
  });

  test('asks nothing in a transaction that has failed', () => {
    assert.equal(play('Q [!] [ZE]').pipeline.mayAsk, false);
    assert.equal(play('Q [C] [ZT]').pipeline.mayAsk, true);
  });

  test('takes notices and parameters at any time', () => {
    const { replies } = play('[N] [S] [A] Q [N] [S] [C] [ZI]');
    assert.deepEqual(
      replies.map(({ kind }) => kind),
      ['aside', 'aside', 'aside', 'answer', 'aside', 'answer', 'ready'],
    );
  });

  const violations = [
    '[C]',
    '[ZI]',
    '[1]',
    'Q [1]',
    'P [2]',
    'P S [1] [C]',
    'B E [2] [ZI]',
    'Q [W]',
    'Q [s]',
    'S [C]',
    'A [T]',
    'A [G]',
    'A [ZI]',
  ];
  for (const script of violations) {
    test(`takes it as a broken protocol: ${script}`, () => {
      assert.throws(() => play(script), { code: 'protocol-violation' });
    });
  }
});

describe('results', () => {
  /** Plays a pipeline in one session and returns the results that were recorded, by the letter of their request. */
  async function results(script: string): Promise<string[]> {
    using spool = openSpool();
    const session = openSession(spool.writer);
    const pipeline = new Pipeline();
    let bound = permit(session);
    for (const [, reply, letter] of script.matchAll(/\[([^\]]+)\]|(\S)/g)) {
      await spool.writer.turn();
      if (letter === 'B') bound = permit(session);
      if (letter !== undefined) pipeline.forward(itemOf(session, letter, bound));
      else if (reply === '!') settle(pipeline.reply(BackendTag.ErrorResponse, error));
      else if (reply?.startsWith('Z'))
        settle(pipeline.reply(BackendTag.ReadyForQuery, bodies.get(reply.slice(1))));
      else settle(pipeline.reply(reply?.charCodeAt(0) ?? 0, Buffer.from('x\0')));
    }
    pipeline.abandon();
    await spool.writer.turn();
    return spool
      .frames()
      .flatMap(({ header }) => (header.kind === 'result' ? [header.status] : []))
      .sort();
  }
  const settle = (reply: Reply): void => {
    if (reply.kind === 'answer' && reply.ends) reply.permit.finish(reply.ends);
  };

  const cases: [script: string, statuses: string[]][] = [
    ['Q [C] [ZI]', ['ok']],
    ['Q [!] [ZI]', ['error']],
    ['P B E S [1] [2] [C] [ZI]', ['ok']],
    ['P B S [1] [2] [ZI]', ['not-executed']],
    ['P B E S [!] [ZI]', ['error', 'not-executed']],
    ['B E B E S [2] [!] [ZI]', ['error', 'not-executed']],
    ['B E S [2] [s] [ZI]', ['ok']],
    ['Q', ['incomplete']],
    ['B E S [2]', ['incomplete']],
  ];
  for (const [script, statuses] of cases) {
    test(`every request has one: ${script}`, async () =>
      assert.deepEqual(await results(script), statuses));
  }
});
