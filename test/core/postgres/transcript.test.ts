import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { buildErrorResponse } from '#core/postgres/backend.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import type { Frame } from '#core/record/frame.ts';
import type { RecordHeader, RecordFields } from '#core/record/kinds.ts';
import type { TranscriptLine } from '#core/record/transcript.ts';
import { Random, scaled } from '../../support/random.ts';

const verdict = {
  action: 'Allow',
  wouldBe: 'Allow',
  reason: 'default-action',
  revision: 'r',
} as const;
const denied = { ...verdict, action: 'Deny', policy: 'AuditPolicy/a/b' } as const;
const result = { kind: 'result', status: 'ok', bytesUp: 1, bytesDown: 2, durationUs: 3 } as const;
const rowsPart = {
  kind: 'part',
  direction: 'down',
  channel: 'rows',
  payloadType: 'postgres.messages',
} as const;
const layoutPart = { ...rowsPart, channel: 'layout' } as const;
const noticePart = { ...rowsPart, channel: 'notice' } as const;
const goesOn = {
  kind: 'part',
  direction: 'up',
  channel: 'message',
  payloadType: 'postgres.query',
} as const;
const query = { kind: 'request', verdict, payloadType: 'postgres.query' } as const;
const statement = { kind: 'statement', verdict, payloadType: 'postgres.parse' } as const;
const bindOf = (seq: number): RecordFields => ({ kind: 'request', verdict, payloadType: 'postgres.bind', statement: seq }); // prettier-ignore

const none = int16(0);
const value = (text: string | Buffer): Buffer =>
  Buffer.concat([int32(text.length), Buffer.from(text)]);
const row = (...cells: (string | Buffer | null)[]): Buffer =>
  buildMessage(
    'D',
    int16(cells.length),
    ...cells.map((cell) => (cell === null ? int32(-1) : value(cell))),
  );
const columns = (...fields: [name: string, type: number, format: number][]): Buffer =>
  buildMessage(
    'T',
    int16(fields.length),
    ...fields.flatMap(([name, type, format]) => [
      name,
      int32(0),
      none,
      int32(type),
      none,
      int32(-1),
      int16(format),
    ]),
  );
const complete = buildMessage('C', 'SELECT 1');
const parse = (text: string, ...types: number[]): Buffer =>
  buildMessage('P', '', text, int16(types.length), ...types.map(int32)).subarray(5);
const bind = (formats: number[], values: (string | Buffer | null)[], resultFormats: number[]): Buffer =>
  buildMessage(
    'B', '', '', int16(formats.length), ...formats.map(int16), int16(values.length),
    ...values.map((item) => (item === null ? int32(-1) : value(item))),
    int16(resultFormats.length), ...resultFormats.map(int16),
  ).subarray(5); // prettier-ignore

/** Makes a frame as a reader of the log has it. */
function frame(seq: number, fields: object, payload: Buffer | string = '', of?: number): Frame {
  const bytes = Buffer.from(payload);
  const header = {
    v: 1, stream: 's', seq, time: '2026-01-02T03:04:05.000006Z', monoNs: 0, session: 'x', n: seq,
    ...(of === undefined ? {} : { request: of }),
    ...(bytes.length > 0 ? { payload: { length: bytes.length, hash: '' } } : {}),
    ...fields,
  } as RecordHeader; // prettier-ignore
  return { header, headerBytes: Buffer.alloc(0), salt: Buffer.alloc(0), payload: bytes, length: 0 };
}

const erased = (whole: Frame): Frame => ({ ...whole, payload: Buffer.alloc(0) });

async function read(...frames: readonly Frame[]): Promise<TranscriptLine[]> {
  async function* source(): AsyncGenerator<Frame> {
    yield* frames;
  }
  const lines: TranscriptLine[] = [];
  for await (const line of transcribe(source())) lines.push(line);
  return lines;
}

/** Lines without what the test does not speak of. */
async function brief(...frames: readonly Frame[]): Promise<unknown[]> {
  return (await read(...frames)).map((line) => {
    switch (line.kind) {
      case 'request':
        return [line.seq, line.verdict.action === 'Deny' ? 'denied' : 'runs', line.text];
      case 'parameters':
        return [line.seq, 'with', ...line.values];
      case 'columns':
        return [line.seq, 'columns', ...line.names];
      case 'row':
        return [line.seq, 'row', ...line.cells];
      case 'copy':
      case 'note':
        return [line.seq, line.kind, line.text];
      case 'error':
      case 'notice':
        return [line.seq, line.kind, line.code, line.message];
      case 'outcome':
        return [line.seq, line.status, line.command];
      case 'session':
      case 'ended':
        return [line.kind];
    }
  });
}

describe('the transcript of a query', () => {
  const answer = Buffer.concat([
    columns(['a', 25, 0], ['b', 23, 1]),
    row('x', int32(7)),
    row(null, int32(8)),
    complete,
  ]);
  const expected = [
    [1, 'runs', 'SELECT'],
    [1, 'columns', 'a', 'b'],
    [1, 'row', 'x', '7'],
    [1, 'row', null, '8'],
    [1, 'ok', 'SELECT 1'],
  ];

  test('shows text, columns, rows and outcome', async () => {
    assert.deepEqual(await brief(frame(1, query, 'SELECT'), frame(2, result, answer, 1)), expected);
  });

  test('reads an answer that is cut anywhere into parts', async () => {
    for (let first = 0; first <= answer.length; first += 1) {
      for (const second of [first, first + 1, first + 7]) {
        const pieces = [
          answer.subarray(0, first),
          answer.subarray(first, second),
          answer.subarray(second),
        ];
        const [one = '', two = '', three = ''] = pieces;
        const frames = [
          frame(2, rowsPart, one, 1),
          frame(3, rowsPart, two, 1),
          frame(4, result, three, 1),
        ];
        assert.deepEqual(
          await brief(frame(1, query, 'SELECT'), ...frames),
          expected,
          `cut at ${first}`,
        );
      }
    }
  });

  test('joins a text that is longer than one record', async () => {
    const lines = await brief(frame(1, query, 'SEL'), frame(2, goesOn, 'EC', 1), frame(3, goesOn, 'T', 1), frame(4, result, answer, 1)); // prettier-ignore
    assert.deepEqual(lines, expected);
  });

  test('keeps the answers of overlapping requests apart', async () => {
    const lines = await brief(
      frame(1, query, 'one'),
      frame(2, query, 'two'),
      frame(3, rowsPart, answer.subarray(0, 60), 1),
      frame(4, rowsPart, answer.subarray(0, 61), 2),
      frame(5, result, answer.subarray(60), 1),
      frame(6, result, answer.subarray(61), 2),
    );
    const of = (seq: number): unknown[] =>
      lines.filter((line) => Array.isArray(line) && line[0] === seq);
    assert.deepEqual(of(1).slice(1), expected.slice(1));
    assert.equal(of(2).length, expected.length);
  });

  test('shows errors and notices with their codes', async () => {
    const error = buildErrorResponse({ severity: 'ERROR', code: '42P01', message: 'no table' });
    const notice = Buffer.from(error);
    notice.write('N');
    assert.deepEqual(await brief(frame(1, query, 'q'), frame(2, noticePart, notice), frame(3, { ...result, status: 'error' }, error, 1)), [
      [1, 'runs', 'q'],
      [undefined, 'notice', '42P01', 'no table'],
      [1, 'error', '42P01', 'no table'],
      [1, 'error', undefined],
    ]); // prettier-ignore
  });

  test('shows COPY data as text, and binary data as bytes', async () => {
    const copy = (format: number): Buffer =>
      Buffer.concat([
        buildMessage('H', Buffer.from([format, 0, 0])),
        buildMessage('d', Buffer.from('a\tb\n')),
      ]);
    assert.deepEqual(
      (await brief(frame(1, query, 'q'), frame(2, result, copy(0), 1), frame(3, query, 'q'), frame(4, result, copy(1), 3)))
        .filter((line) => Array.isArray(line) && line[1] === 'copy'),
      [[1, 'copy', 'a\tb\n'], [3, 'copy', '\\x6109620a']],
    ); // prettier-ignore
  });
});

describe('the transcript of a prepared statement', () => {
  const layout = columns(['n', 23, 0]);
  const seven = row(int32(7));

  test('shows its text and parameters with each request that runs it', async () => {
    const lines = await brief(
      frame(1, statement, parse('SELECT $1, $2', 23, 25)),
      frame(2, bindOf(1), bind([1, 0], [int32(5), 'x'], [])),
      frame(3, result, complete, 2),
      frame(4, bindOf(1), bind([1], [int32(6), null], [])),
    );
    assert.deepEqual(lines, [
      [2, 'runs', 'SELECT $1, $2'],
      [2, 'with', '5', 'x'],
      [2, 'ok', 'SELECT 1'],
      [4, 'runs', 'SELECT $1, $2'],
      [4, 'with', '6', null],
    ]);
  });

  test('reads rows by a description that came before the Bind, after it, or with an earlier one', async () => {
    const binary = bind([], [], [1]);
    const cases = {
      before: [
        frame(2, layoutPart, layout, 1),
        frame(3, bindOf(1), binary),
        frame(4, result, seven, 3),
      ],
      after: [
        frame(3, bindOf(1), binary),
        frame(4, layoutPart, layout, 1),
        frame(5, result, seven, 3),
      ],
      earlier: [
        frame(2, bindOf(1), binary),
        frame(3, result, columns(['n', 23, 1]), 2),
        frame(4, bindOf(1), binary),
        frame(5, result, seven, 4),
      ],
      cut: [
        frame(2, layoutPart, layout.subarray(0, 9), 1),
        frame(3, layoutPart, layout.subarray(9), 1),
        frame(4, bindOf(1), binary),
        frame(5, result, seven, 4),
      ],
    };
    for (const [when, frames] of Object.entries(cases)) {
      const lines = await brief(frame(1, statement, parse('S')), ...frames);
      const shown = lines.slice(-3).map((line) => (Array.isArray(line) ? line.slice(1) : line));
      assert.deepEqual(
        shown,
        [
          ['columns', 'n'],
          ['row', '7'],
          ['ok', undefined],
        ],
        when,
      );
    }
  });

  test('reads rows by the record that the result names', async () => {
    const lines = await brief(
      frame(1, layoutPart, layout),
      frame(2, { kind: 'request', verdict, payloadType: 'postgres.bind' }, bind([], [], [1])),
      frame(3, { ...result, layout: 1 }, seven, 2),
    );
    assert.deepEqual(lines.slice(2), [
      [2, 'columns', 'n'],
      [2, 'row', '7'],
      [2, 'ok', undefined],
    ]);
  });

  test('shows binary values of unknown types as bytes', async () => {
    const lines = await brief(
      frame(1, bindOf(9), bind([1], ['ab'], [1])),
      frame(2, result, row('cd'), 1),
    );
    assert.deepEqual(lines, [
      [1, 'runs', undefined],
      [1, 'note', 'its text is that of record 9, which is too far back'],
      [1, 'with', '\\x6162'],
      [1, 'row', '\\x6364'],
      [1, 'ok', undefined],
    ]);
  });

  test('shows a statement that was denied, and one that failed', async () => {
    const error = buildErrorResponse({ severity: 'ERROR', code: '42601', message: 'syntax' });
    assert.deepEqual(
      await brief(
        frame(1, { ...statement, verdict: denied }, parse('DROP TABLE t')),
        frame(2, statement, parse('SELEC')),
        frame(3, { ...result, status: 'error' }, error, 2),
      ),
      [
        [1, 'denied', 'DROP TABLE t'],
        [2, 'note', 'not prepared: SELEC'],
        [2, 'error', '42601', 'syntax'],
        [2, 'error', undefined],
      ],
    );
  });
});

describe('a transcript says what is missing', () => {
  const answer = Buffer.concat([columns(['a', 25, 0]), row('x'), row('y'), complete]);

  test('an erased text, an erased answer, and what comes behind an erased part', async () => {
    assert.deepEqual(
      await brief(
        erased(frame(1, query, 'SELECT secret')),
        frame(2, rowsPart, answer.subarray(0, 40), 1),
        erased(frame(3, rowsPart, answer.subarray(40, 45), 1)),
        frame(4, result, answer.subarray(45), 1),
      ),
      [
        [1, 'runs', undefined],
        [1, 'note', 'content of the request was erased'],
        [1, 'columns', 'a'],
        [1, 'row', 'x'],
        [1, 'note', 'the answer, or a part of it, was erased'],
        [1, 'ok', undefined],
      ],
    );
  });

  test('what was recorded as a digest only', async () => {
    const digest = { sha256: 'ab', length: 9 };
    assert.deepEqual(await brief(frame(1, { ...query, digest }), frame(2, { ...result, digest }, '', 1)), [
      [1, 'runs', undefined],
      [1, 'note', 'the request was recorded as a digest only: SHA-256 ab of 9 bytes'],
      [1, 'note', 'the answer was recorded as a digest only: SHA-256 ab of 9 bytes'],
      [1, 'ok', undefined],
    ]); // prettier-ignore
  });

  test('an answer that ends within a message, and one that policy cut short', async () => {
    const cut = answer.subarray(0, answer.length - 20);
    const note = async (fields: object): Promise<unknown> =>
      (await brief(frame(1, query, 'q'), frame(2, { ...result, ...fields }, cut, 1))).at(-2);
    assert.deepEqual(await note({ status: 'incomplete' }), [
      1,
      'note',
      'the answer ends within a message',
    ]);
    assert.deepEqual(await note({ truncated: true }), [1, 'note', 'the record of the answer was cut short by policy']); // prettier-ignore
  });

  test('a row that is too long to be shown', async () => {
    const long = Buffer.concat([columns(['a', 25, 0]), row('x'.repeat(2_000_000)), row('y')]);
    const parts = Array.from({ length: Math.ceil(long.length / 65_536) }, (_, index) =>
      frame(2 + index, rowsPart, long.subarray(index * 65_536, (index + 1) * 65_536), 1),
    );
    assert.deepEqual((await brief(frame(1, query, 'q'), ...parts)).slice(2), [
      [1, 'note', 'a message of 2000010 bytes is not shown'],
      [1, 'row', 'y'],
    ]);
  });

  test('bytes that are no messages, without taking later ones for messages', async () => {
    const forged = Buffer.concat([Buffer.from('Q\0\0\0\0'), row('forged')]);
    assert.deepEqual(
      await brief(frame(1, query, 'q'), frame(2, rowsPart, forged, 1), frame(3, result, row('forged'), 1)),
      [[1, 'runs', 'q'], [1, 'note', 'what follows of this answer cannot be read'], [1, 'ok', undefined]],
    ); // prettier-ignore
  });

  for (const [what, fields] of Object.entries({
    'a verdict': { ...query, verdict: undefined },
    'a verdict with a control character': { ...query, verdict: { ...denied, policy: '\x1b[2J' } },
    'a principal': { kind: 'session.start', backend: 'b' },
    'a duration': { ...result, durationUs: '3' },
    'a reason': { kind: 'session.end', count: 1, reason: '\u202e' },
  })) {
    test(`a record whose fields are wrong: ${what}`, async () => {
      assert.deepEqual(await brief(frame(5, fields)), [
        [undefined, 'note', 'record 5 cannot be read'],
      ]);
    });
  }
});

describe('a transcript of anything', () => {
  const pieces = [
    columns(['a', 1007, 1]),
    row('x'),
    complete,
    parse('q', 23),
    bind([1], ['x'], [1]),
    Buffer.from('text'),
  ];
  const kinds = [query, statement, bindOf(1), bindOf(2), rowsPart, layoutPart, noticePart, goesOn, result,
    { kind: 'session.start', backend: 'b', principal: { user: 'u' } }, { kind: 'session.end', reason: 'killed', count: 1 }]; // prettier-ignore

  test('never throws', async () => {
    const random = new Random(64);
    for (let round = 0; round < scaled(20_000); round += 1) {
      const frames = Array.from({ length: 1 + random.below(12) }, (_, index) => {
        const payload = Buffer.from(
          random.below(4) === 0 ? random.bytes(random.below(40)) : random.pick(pieces),
        );
        if (payload.length > 0 && random.below(3) === 0)
          payload[random.below(payload.length)] = random.below(256);
        const made = frame(index + 1, random.pick<object>(kinds), payload, random.below(index + 1));
        return random.below(6) === 0 ? erased(made) : made;
      });
      await read(...frames);
    }
  });

  test('forgets the oldest texts of a session that prepares without end, and says so', async () => {
    const text = 'x'.repeat(60_000);
    async function* session(): AsyncGenerator<Frame> {
      for (let seq = 1; seq <= 1_000; seq += 1) yield frame(seq, statement, parse(text));
      yield frame(1_001, bindOf(1), bind([], [], []));
      yield frame(1_002, bindOf(1_000), bind([], [], []));
    }
    const lines: TranscriptLine[] = [];
    for await (const line of transcribe(session())) lines.push(line);
    const [first, note, , last] = lines;
    assert.equal(first?.kind === 'request' && first.text, undefined);
    assert.equal(note?.kind, 'note');
    assert.equal(last?.kind === 'request' && last.text, text);
  });
});
