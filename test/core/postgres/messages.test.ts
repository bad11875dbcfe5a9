import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { serialize } from 'pg-protocol';
import { ChaperoneError } from '#core/errors.ts';
import * as backend from '#core/postgres/backend.ts';
import * as frontend from '#core/postgres/frontend.ts';
import {
  buildCancelRequest,
  buildSslRequest,
  buildStartup,
  tryParseStartup,
} from '#core/postgres/startup.ts';
import { buildMessage, int32 } from '#core/postgres/reader.ts';
import { Random, scaled } from '../../support/random.ts';

const body = (frame: Buffer): Buffer => frame.subarray(5);

describe('messages of a client, as another driver writes them', () => {
  test('reads Query', () => {
    assert.equal(frontend.parseQuery(body(serialize.query('select 1'))).toString(), 'select 1');
  });

  test('reads Parse', () => {
    const parsed = frontend.parseParse(
      body(serialize.parse({ name: 's', text: 'select $1', types: [23, 0] })),
    );
    assert.deepEqual(
      { ...parsed, query: parsed.query.toString() },
      { name: 's', query: 'select $1', parameterTypes: [23, 0] },
    );
  });

  test('reads Bind with NULL and binary values', () => {
    const parsed = frontend.parseBind(
      body(
        serialize.bind({ portal: 'p', statement: 's', values: ['a', null, Buffer.from([0, 1])] }),
      ),
    );
    assert.deepEqual(
      parsed.parameters.map((value) => value?.toString('hex')),
      ['61', undefined, '0001'],
    );
    assert.equal(parsed.portal, 'p');
    assert.equal(parsed.statement, 's');
  });

  test('reads Describe, Close and Execute', () => {
    assert.deepEqual(frontend.parseDescribe(body(serialize.describe({ type: 'S', name: 'x' }))), {
      kind: 'statement',
      name: 'x',
    });
    assert.deepEqual(frontend.parseClose(body(serialize.close({ type: 'P', name: 'y' }))), {
      kind: 'portal',
      name: 'y',
    });
    assert.deepEqual(frontend.parseExecute(body(serialize.execute({ portal: 'p', rows: 9 }))), {
      portal: 'p',
      maxRows: 9,
    });
  });

  test('writes what it reads', () => {
    assert.equal(frontend.parseQuery(body(frontend.buildQuery('é'))).toString(), 'é');
    assert.deepEqual(
      frontend.parseDescribe(body(frontend.buildDescribe({ kind: 'portal', name: 'p' }))),
      { kind: 'portal', name: 'p' },
    );
    assert.deepEqual(frontend.buildSync(), serialize.sync());
    assert.deepEqual(frontend.buildFlush(), serialize.flush());
    assert.deepEqual(frontend.buildExecute('p', 1), serialize.execute({ portal: 'p', rows: 1 }));
  });

  test('refuses bytes behind the fields of a message', () => {
    assert.throws(() => frontend.parseQuery(Buffer.from('select 1\0drop\0')), {
      code: 'protocol-violation',
    });
    assert.throws(
      () =>
        frontend.parseExecute(
          Buffer.concat([body(frontend.buildExecute('p', 1)), Buffer.from('x')]),
        ),
      { code: 'protocol-violation' },
    );
  });

  test('refuses a string that would end early', () => {
    assert.throws(() => frontend.buildQuery('a\0b'), { code: 'protocol-violation' });
  });
});

describe('startup', () => {
  const startup = buildStartup(
    new Map([
      ['user', 'a'],
      ['database', 'b'],
    ]),
  );

  test('waits for the whole packet and leaves what follows', () => {
    for (let length = 0; length < startup.length; length += 1) {
      assert.equal(tryParseStartup(startup.subarray(0, length)), undefined);
    }
    const parsed = tryParseStartup(Buffer.concat([startup, Buffer.from('rest')]));
    assert.equal(parsed?.consumed, startup.length);
    assert.deepEqual(parsed?.value.kind === 'startup' && [...parsed.value.parameters], [
      ['user', 'a'],
      ['database', 'b'],
    ]);
  });

  test('recognises SSLRequest, CancelRequest and direct TLS', () => {
    assert.equal(tryParseStartup(buildSslRequest())?.value.kind, 'ssl-request');
    const cancel = tryParseStartup(buildCancelRequest(7, Buffer.from('key!')))?.value;
    assert.deepEqual(cancel, { kind: 'cancel-request', processId: 7, secret: Buffer.from('key!') });
    assert.equal(tryParseStartup(Buffer.from([0x16, 3, 1]))?.value.kind, 'direct-tls');
  });

  const twice = buildMessage('', int32(196_608), 'user', 'a', 'user', 'b', Buffer.from([0]));
  const hostile: [string, Buffer][] = [
    ['a packet longer than PostgreSQL takes', Buffer.from([0, 0, 0x30, 0, 0, 3, 0, 0])],
    ['a negative length', Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0])],
    ['protocol 2', Buffer.from([0, 0, 0, 8, 0, 2, 0, 0])],
    ['a missing terminator', Buffer.from([0, 0, 0, 10, 0, 3, 0, 0, 0x61, 0])],
    ['a parameter given twice', twice],
    [
      'a cancel key that is too short',
      Buffer.from([0, 0, 0, 14, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 1, 1]),
    ],
  ];
  for (const [what, bytes] of hostile) {
    test(`refuses ${what}`, () => {
      assert.throws(() => tryParseStartup(bytes), { code: 'protocol-violation' });
    });
  }
});

describe('messages of a server', () => {
  test('reads an error by its fields, and writes one that cannot smuggle a field', () => {
    const frame = backend.buildErrorResponse({
      severity: 'ERROR',
      code: '42501',
      message: 'no\0Hforged',
      hint: 'ask',
    });
    const fields = backend.parseErrorFields(body(frame));
    assert.equal(fields.get('M'), 'no Hforged');
    assert.equal(fields.get('H'), 'ask');
  });

  test('reads what it writes', () => {
    assert.deepEqual(backend.parseAuthentication(body(backend.buildAuthenticationOk())), {
      kind: 'ok',
    });
    assert.equal(
      backend.parseAuthentication(body(backend.buildAuthenticationCleartextPassword())).kind,
      'cleartext',
    );
    assert.deepEqual(backend.parseParameterStatus(body(backend.buildParameterStatus('a', 'b'))), {
      name: 'a',
      value: 'b',
    });
    assert.equal(backend.parseReadyForQuery(body(backend.buildReadyForQuery('T'))), 'T');
    const key = { processId: 5, secret: Buffer.alloc(32, 7) };
    assert.deepEqual(backend.parseBackendKeyData(body(backend.buildBackendKeyData(key))), key);
  });

  test('takes a SQLSTATE for one only where it has the form of one', () => {
    const code = (text: string): string | undefined =>
      backend.tryParseErrorCode(Buffer.from(`SERROR\0C${text}\0Mmessage\0\0`));
    assert.equal(code('42P01'), '42P01');
    for (const text of ['', '42p01', '42P0', '42P011', 'select secret', 'x'.repeat(100_000)])
      assert.equal(code(text), undefined);
  });

  test('survives random bodies with documented errors alone', () => {
    const random = new Random(7);
    const parsers = [
      backend.parseAuthentication, backend.parseRowDescription, backend.parseDataRow, backend.parseErrorFields,
      backend.parseParameterDescription, backend.parseNotification, backend.parseReadyForQuery,
      frontend.parseBind, frontend.parseParse, frontend.parseDescribe, frontend.parseExecute,
    ]; // prettier-ignore
    for (let round = 0; round < scaled(100_000); round += 1) {
      const bytes = random.bytes(random.below(50));
      try {
        random.pick<(bytes: Buffer) => unknown>(parsers)(bytes);
      } catch (error) {
        assert.ok(
          error instanceof ChaperoneError && error.code === 'protocol-violation',
          `round ${round}`,
        );
      }
    }
  });
});
