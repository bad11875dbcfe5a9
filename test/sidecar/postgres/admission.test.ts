import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { Admission } from '../../../sidecar/postgres/admission.ts';
import type { Item } from '../../../sidecar/postgres/items.ts';
import { bind, close, ofPortal, ofStatement, parse } from '../../support/extended-query.ts';
import { openSession, openSpool, type TestSpool } from '../../support/sidecar-session.ts';

function admit(
  spool: TestSpool,
  frames: readonly Buffer[],
  spec: object = {},
): { items: (Item | undefined)[]; admission: Admission } {
  const admission = new Admission(openSession(spool.writer, spec));
  const splitter = new FrameSplitter({
    streamed: new Set([0x64]),
    maxMessageBytes: 100_000,
    oversized: 'stream',
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
      bind('s'),
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
      [buildQuery('a'), parse('', 'b'), bind(''), buildSync(), buildQuery('c')],
      { mode: 'Enforce' },
    );
    assert.deepEqual(kinds(items), ['refused', 'refused', undefined, 'sync', 'refused']);
    await spool.writer.turn();
    const verdicts = spool
      .frames()
      .flatMap(({ header }) => ('verdict' in header ? [header.verdict.action] : []));
    assert.deepEqual(verdicts, ['Deny', 'Deny', 'Deny']);
  });

  test('takes a portal that no Bind made for a cursor, whose Executes are operations', async () => {
    using spool = openSpool();
    assert.deepEqual(kinds(admit(spool, [buildExecute('cursor', 5)]).items), ['execute']);
    await spool.writer.turn();
    const [, request] = spool.frames();
    assert.equal(request?.header.kind, 'request');
    assert.equal(request.payload.toString('latin1'), 'cursor\0\0\0\0\x05');
  });

  test('lets nothing up that stands behind what the backend looks at', () => {
    using spool = openSpool();
    const name = 'n'.repeat(63);
    const long = `${name}and more`;
    const { items } = admit(spool, [
      buildExecute(name, 0),
      ofPortal(name),
      close('P', name),
      buildSync(),
      buildExecute(long, 0),
      buildSync(),
      ofPortal(long),
      buildSync(),
      close('P', long),
    ]);
    assert.deepEqual(kinds(items), [
      'execute',
      'describe-portal',
      'close',
      'sync',
      'refused',
      'sync',
      'refused',
      'sync',
      'refused',
    ]);
    for (const tag of ['S', 'H', 'X'])
      assert.throws(() => admit(spool, [buildMessage(tag, 'text')]), {
        code: 'protocol-violation',
      });
  });

  test('records names in Describe and Close that no other record gave', async () => {
    using spool = openSpool();
    const known = [parse('s', 'SELECT 1'), bind('s', { portal: 'p' }), ofStatement('s'), ofPortal('p'), ofPortal(''), close('S', '')]; // prettier-ignore
    const unknown = [ofStatement('any text'), ofPortal('c'), close('P', 'c'), close('S', 't')];
    admit(spool, [...known, ...unknown]);
    await spool.writer.turn();
    const parts = spool.frames().filter(({ header }) => header.kind === 'part');
    assert.deepEqual(
      parts.map(({ payload }) => payload.toString('latin1')),
      unknown.map((frame) => frame.toString('latin1')),
    );
  });

  for (const requests of ['Digest', 'None'])
    test(`keeps such a name out of the record under requests: ${requests}`, async () => {
      using spool = openSpool();
      admit(spool, [ofStatement('any text')], { record: { requests } });
      await spool.writer.turn();
      const [part] = spool.frames().slice(1);
      assert.equal(part?.header.kind, 'part');
      assert.equal(part.payload.length, 0);
      assert.equal('digest' in part.header, requests === 'Digest');
    });

  test('records that a message was refused before it could be judged, and why', async () => {
    using spool = openSpool();
    const { items } = admit(spool, [bind('s', { portal: 'Überblick' }), buildSync()]);
    assert.deepEqual(kinds(items), ['refused', 'sync']);
    await spool.writer.turn();
    const [violation, ...more] = spool.frames().slice(1);
    assert.equal(violation?.header.kind === 'violation' && violation.header.code, 'unsupported');
    assert.equal(violation?.payload.length, 0);
    assert.deepEqual(more, []);
  });

  const long = buildQuery(`SELECT '${'x'.repeat(200_000)}'`);

  test('refuses a text that is too long to be judged, under a policy that enforces', () => {
    using spool = openSpool();
    const spec = { mode: 'Enforce', defaultAction: 'Allow' };
    const [item, ...rest] = admit(spool, [long, buildSync()], spec).items;
    assert.equal(item?.kind === 'refused' && item.refusal.code, 'too-large');
    assert.deepEqual(kinds(rest), [undefined, 'sync']);
  });

  test('records all of a text that is too long to be judged, where nobody enforces', async () => {
    using spool = openSpool();
    assert.deepEqual(kinds(admit(spool, [long, buildSync()]).items), ['query', 'more', 'sync']);
    await spool.writer.turn();
    const recorded = spool.frames().filter(({ header }) => header.kind !== 'session.start');
    assert.equal(
      Buffer.concat(recorded.map(({ payload }) => payload)).toString(),
      long.toString('utf8', 5, long.length - 1),
    );
    assert.equal(new Set(recorded.map(({ payload }) => payload.length > 65_536)).has(true), false);
  });

  const broken: [what: string, frame: Buffer][] = [
    ['a message of an unknown type', buildMessage('!', Buffer.alloc(10))],
    ['a Describe of a megabyte', buildMessage('D', Buffer.alloc(1_000_000, 'S'))],
    ['a FunctionCall that does not hold what it says', buildMessage('F', Buffer.alloc(5))],
  ];
  for (const [what, frame] of broken) {
    test(`breaks off at ${what}`, () => {
      using spool = openSpool();
      assert.throws(() => admit(spool, [frame]), { code: 'protocol-violation' });
    });
  }

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
      const [piece] = splitter.push(bind('', { portal: `p${index}` }));
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
