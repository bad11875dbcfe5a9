import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRefusal } from '#core/operation.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import type { Frame } from '#core/record/frame.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import { isReadable } from '#core/record/readable.ts';
import {
  about,
  compiled,
  factsOf,
  policy,
  shop,
  statement,
  table,
  tables,
} from '../support/policies.ts';
import { openSession, openSpool } from '../support/sidecar-session.ts';

async function* oneByOne(frames: readonly Frame[]): AsyncGenerator<Frame> {
  yield* frames;
}

describe('the text of a query, as its record is read', () => {
  /** Records a query under a level, with more of it in a further piece if `rest` is given. */
  async function recordedText(
    requests: string,
    text: string,
    rest?: string,
  ): Promise<string | undefined> {
    using spool = openSpool();
    const session = openSession(spool.writer, { record: { requests } });
    const permit = session.admit({
      kind: 'request',
      facts: { protocol: 'Postgres', statements: [] },
      content: { type: 'postgres.query', bytes: Buffer.from(text) },
      open: rest !== undefined,
    });
    assert.ok(!isRefusal(permit));
    if (rest !== undefined)
      permit.up('message', { type: 'postgres.query', bytes: Buffer.from(rest) }, true);
    await permit.recorded;
    for await (const line of transcribe(oneByOne(spool.frames())))
      if (line.kind === 'request') return line.text;
    throw new Error('there is no request');
  }

  test('is what was asked', async () =>
    assert.equal(await recordedText('Full', 'SELECT 1'), 'SELECT 1'));
  test('is what was asked, in pieces', async () =>
    assert.equal(await recordedText('Full', 'SELEC', 'T 1'), 'SELECT 1'));
  test('is empty for an empty query, which pools send to see whether anybody answers', async () =>
    assert.equal(await recordedText('Full', ''), ''));
  for (const level of ['None', 'Digest'])
    test(`is unknown under ${level}, also in pieces`, async () => {
      assert.equal(await recordedText(level, 'SELECT 1'), undefined);
      assert.equal(await recordedText(level, ''), undefined);
      assert.equal(await recordedText(level, 'SELEC', 'T 1'), undefined);
    });
});

describe('an operation that is refused', () => {
  const policies = compiled([
    policy({ rules: [about('Deny', { tables: tables('salaries') }, { name: 'no-salaries' })] }),
  ]);
  const secret = factsOf(statement({ tables: [table('public.salaries')] }));

  test('is recorded with the policy and the rule, and without what it was about', async () => {
    using spool = openSpool();
    const session = openSession(spool.writer, {}, { compiled: () => policies, backend: shop });
    const refusal = session.admit({ kind: 'request', facts: secret });
    assert.ok(isRefusal(refusal));
    assert.match(refusal.message, /rule no-salaries/);
    await spool.writer.turn();
    const request = spool.frames().find(({ header }) => header.kind === 'request')?.header;
    assert.ok(request?.kind === 'request' && isReadable(request));
    assert.deepEqual(request.verdict, {
      action: 'Deny',
      wouldBe: 'Deny',
      reason: 'rule',
      policy: 'AuditPolicy/local/p',
      rule: 'no-salaries',
      revision: 'r',
    });
  });

  test('is so from the next one on when the policies change', () => {
    using spool = openSpool();
    let now = compiled([policy({ defaultAction: 'Allow' })]);
    const session = openSession(spool.writer, {}, { compiled: () => now, backend: shop });
    const admitted = (): boolean => !isRefusal(session.admit({ kind: 'request', facts: secret }));
    assert.equal(admitted(), true);
    now = policies;
    assert.equal(admitted(), false);
  });
});

describe('an answer that could not be recorded in time', () => {
  const answer = { type: 'postgres.messages', bytes: Buffer.alloc(10_000) } as const;

  /** Runs a request up to its answer, for which the spool has no room, and returns the header of its result. */
  async function resultOf(spec: object, code?: string): Promise<RecordHeader | undefined> {
    using spool = openSpool({ maxBytes: 4_000, reserveBytes: 4_000 });
    const session = openSession(spool.writer, spec);
    const permit = session.admit({
      kind: 'request',
      facts: { protocol: 'Postgres', statements: [] },
      content: { type: 'postgres.query', bytes: Buffer.from('SELECT 1') },
    });
    assert.ok(!isRefusal(permit));
    assert.equal(await permit.recorded, undefined);
    if ('record' in spec) {
      // Nothing of the answer is recorded; the turn fails for the sake of another session.
      openSession(spool.writer).aside('notice', answer);
    }
    permit.down(answer, 3);
    permit.finish(code === undefined ? { status: 'ok' } : { status: 'error', code });
    assert.ok(await spool.writer.turn(), 'it was recorded in time');
    return spool.frames().find(({ header }) => header.kind === 'result')?.header;
  }

  for (const [what, spec] of [
    ['', {}],
    [', also where no answers are recorded', { record: { responses: 'None' } }],
  ] as const)
    test(`is incomplete in the record, and nothing of it is there, since the agent does not get it${what}`, async () => {
      const result = await resultOf(spec);
      assert.ok(result?.kind === 'result');
      assert.equal(result.status, 'incomplete');
      assert.equal(result.payload, undefined);
      assert.equal(result['db.response.returned_rows'], 3);
    });

  test('keeps the code of its error', async () => {
    const result = await resultOf({}, '22012');
    assert.ok(result?.kind === 'result');
    assert.deepEqual([result.status, result['db.response.status_code']], ['incomplete', '22012']);
  });
});
