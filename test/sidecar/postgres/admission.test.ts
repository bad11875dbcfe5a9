import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { Admission } from '../../../sidecar/postgres/admission.ts';
import type { Item } from '../../../sidecar/postgres/pipeline.ts';
import { openSession, openSpool, type TestSpool } from '../../support/sidecar-session.ts';

const none = Buffer.from([0, 0]);
const parse = (name: string, text: string): Buffer => buildMessage('P', name, text, none);
const bind = (portal: string, statement: string): Buffer =>
  buildMessage('B', portal, statement, none, none, none);

function admit(
  spool: TestSpool,
  frames: readonly Buffer[],
  spec: object = {},
): { items: (Item | undefined)[]; admission: Admission } {
  const admission = new Admission(openSession(spool.writer, spec));
  const splitter = new FrameSplitter({
    streamed: new Set([0x64]),
    maxMessageBytes: 100_000,
    oversized: 'skip',
  });
  return {
    admission,
    items: splitter.push(Buffer.concat(frames)).map((piece) => admission.admit(piece)),
  };
}

const kinds = (items: readonly (Item | undefined)[]): (string | undefined)[] =>
  items.map((item) => item?.kind);

describe('Admission', () => {
  test('records text at Parse and parameters at Bind, in the order of sending', async () => {
    using spool = openSpool();
    admit(spool, [
      parse('s', 'SELECT 1'),
      bind('', 's'),
      buildExecute('', 0),
      buildSync(),
      buildQuery('SELECT 2'),
    ]);
    await spool.writer.turn();
    const recorded = spool.frames().map(({ header }) => header);
    assert.deepEqual(
      recorded.map(({ kind }) => kind),
      ['session.start', 'statement', 'request', 'request'],
    );
    const [, statement, request] = recorded;
    assert.equal(request?.kind === 'request' && request.statement, statement?.seq);
  });

  test('under a policy that denies, refuses each operation and records the verdict', async () => {
    using spool = openSpool();
    const { items } = admit(
      spool,
      [buildQuery('a'), parse('', 'b'), bind('', ''), buildSync(), buildQuery('c')],
      { mode: 'Enforce' },
    );
    assert.deepEqual(kinds(items), ['refused', 'refused', undefined, 'sync', 'refused']);
    await spool.writer.turn();
    const verdicts = spool
      .frames()
      .flatMap(({ header }) => ('verdict' in header ? [header.verdict.action] : []));
    assert.deepEqual(verdicts, ['Deny', 'Deny', 'Deny']);
  });

  test('refuses what it does not understand, and what is too large to judge', () => {
    using spool = openSpool();
    const refused = (frame: Buffer): string => {
      const [item] = admit(spool, [frame]).items;
      return item?.kind === 'refused' ? item.refusal.code : 'passed';
    };
    assert.equal(refused(buildMessage('F', Buffer.alloc(10))), 'unsupported');
    assert.equal(refused(buildMessage('!', Buffer.alloc(10))), 'unsupported');
    assert.equal(refused(buildExecute('never bound', 0)), 'unsupported');
    assert.equal(refused(buildQuery('x'.repeat(200_000))), 'too-large');
  });

  test('ignores COPY data that no COPY awaits, as PostgreSQL does', () => {
    using spool = openSpool();
    assert.deepEqual(
      kinds(admit(spool, [buildMessage('d', 'x'), buildMessage('c'), buildQuery('a')]).items),
      [undefined, undefined, 'query'],
    );
  });

  test('bounds the names that a connection may hold', () => {
    using spool = openSpool();
    const items = admit(
      spool,
      Array.from({ length: 10_050 }, (_, index) => [parse(`s${index}`, 'x'), buildSync()]).flat(),
    ).items;
    assert.equal(items.filter((item) => item?.kind === 'refused').length, 50);
  });

  test('forgets portals that have ended, however many a connection makes', () => {
    using spool = openSpool();
    const { admission } = admit(spool, []);
    const splitter = new FrameSplitter({
      streamed: new Set(),
      maxMessageBytes: 1_000,
      oversized: 'throw',
    });
    for (let index = 0; index < 25_000; index += 1) {
      const [piece] = splitter.push(bind(`p${index}`, ''));
      const item = piece && admission.admit(piece);
      assert.equal(item?.kind, 'bind');
      if (item.kind === 'bind') item.permit.finish({ status: 'ok' });
    }
  });

  test('breaks off at a message that is malformed', () => {
    using spool = openSpool();
    assert.throws(() => admit(spool, [buildMessage('B', Buffer.from([0, 0, 0]))]), {
      code: 'protocol-violation',
    });
  });
});
