import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { projectDirectory } from '../../cli/instance.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import type { TranscriptLine } from '#core/record/transcript.ts';
import { csvRow, jsonLine, statementRows, type StatementRow } from '../../cli/statements.ts';
import { parseTime } from '../../cli/time-words.ts';
import { describe as describeLine } from '../../cli/show.ts';
import { printable, table } from '../../cli/terminal.ts';
import { readConfig as readCollectorConfig } from '../../collector/config.ts';
import { readConfig as readSidecarConfig } from '../../sidecar/config.ts';

const run = promisify(execFile);
const chaperone = (...args: string[]): Promise<{ stdout: string }> =>
  run(process.execPath, [join(projectDirectory, 'cli/main.ts'), ...args]);

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-cli-'));
  chmodSync(directory, 0o755);
  return directory;
}

describe('the command line', () => {
  const wrong: [args: string[], code: number, message: RegExp][] = [
    [[], 2, /^$/],
    [['nonsense'], 2, /there is no command "nonsense"/],
    [['dev'], 2, /dev needs --config and --data/],
    [
      ['dev', '--config', 'examples/local', '--data', 'x', '--port', 'many'],
      2,
      /--port: got "many"/,
    ],
    [['dev', '--nonsense'], 2, /unknown option '--nonsense'/],
    [['dev', '--config', 'no-such-directory', '--data', 'x'], 1, /is not a directory/],
    [['sessions', 'show'], 2, /needs the id/],
    [['sessions', 'nonsense'], 2, /usage/],
    [['verify'], 2, /needs a file, the id of a session or stream, or --all/],
    [['verify', 'x', '--all'], 2, /needs a file/],
    [['verify', 'x', 'y'], 2, /needs a file/],
    [['verify', 'package.json', '--data', 'x'], 2, /--data is for/],
    [['verify', 'package.json', '--trust', 'package.json'], 1, /no key that can be read/],
    [['verify', 'package.json', '--ledger', '/nonexistent'], 1, /\/nonexistent is not there/],
    [['sessions', 'export'], 2, /needs the id/],
    [['sessions', 'export', 'x', '--as', 'pdf'], 2, /want frames, csv or ndjson/],
    [['sessions', 'tail'], 2, /sessions tail -f/],
    [['findings', 'x'], 2, /takes no argument/],
    [['erase', 'x', '--who', 'y'], 2, /needs the id of one session, --who and --why/],
    [['erase', 'x', '--who', 'y', '--why', 'z'], 2, /want the whole id/],
    [
      ['sessions', '--data', '/nonexistent'],
      1,
      /nothing runs on \/nonexistent: start it with "npm start"/,
    ],
    [['sessions', '--limit', '0'], 2, /--limit: got "0", want 1 to 999999/],
    [['hold', 'perhaps'], 2, /hold takes "on" or "off"/],
    [['hold', 'on', '--who', 'x'], 2, /need --who and --why/],
    [['token', '--data', '/nonexistent'], 1, /nothing runs on/],
    [['sql', 'two', 'statements'], 2, /quote the statement/],
    [['sessions', '--as-expectation'], 2, /--as-expectation is for sessions show/],
    [['explain'], 2, /needs SQL, or the id of a session/],
    [['explain', 'SELECT', '1'], 2, /quote the SQL/],
    [['explain', 'SELECT 1'], 2, /without --as, explain takes the id of a session/],
    [['explain', 'SELECT 1', '--backend', 'x'], 2, /needs --as for SQL/],
    [['explain', 'SELECT 1', '--as', 'x'], 2, /needs --backend/],
    [['explain', 'SELECT 1', '--as', ',x', '--backend', 'x'], 2, /--as: want USER/],
    [
      ['explain', 'SELECT 1', '--as', 'x', '--backend', 'x', '--labels', 'a=b'],
      2,
      /--labels is for --config/,
    ],
    [['explain', '01a20f9b', '--namespace', 'x'], 2, /--namespace is for --config/],
    [
      ['explain', 'x', '--as', 'x', '--backend', 'x', '--config', 'x', '--database', 'x'],
      2,
      /--database is for the running sidecar/,
    ],
    [
      ['explain', 'SELECT 1', '--as', 'x', '--backend', 'x', '--config', 'x', '--labels', 'x'],
      2,
      /--labels: got "x"/,
    ],
    [
      ['explain', 'SELECT 1', '--as', 'x', '--backend', 'x', '--config', '/nonexistent'],
      1,
      /cannot be read: is it a directory/,
    ],
    [['explain', '01a20f9b', '--data', '/nonexistent'], 1, /nothing runs on/],
    [['replay'], 2, /needs one directory of policies/],
    [['replay', 'x', '--since', 'soon'], 2, /--since: got "soon"/],
    [['replay', 'x', '--until', 'soon'], 2, /--until: got "soon"/],
    [['replay', 'x', '--session', 'y', '--since', '1d'], 2, /--session takes no --since/],
    [['replay', 'x', '--expect', 'y', '--since', '1d'], 2, /--expect takes the place/],
    [['replay', 'x', '--expect', '/nonexistent'], 2, /\/nonexistent cannot be read/],
    [['suggest', 'x'], 2, /takes no argument/],
    [['suggest', '--since', 'soon'], 2, /--since: got "soon"/],
  ];
  for (const [args, code, message] of wrong) {
    test(`says what is wrong with "${args.join(' ')}" in a sentence`, async () => {
      await assert.rejects(chaperone(...args), { code, stderr: message });
    });
  }

  test('helps with every command', async () => {
    const { stdout } = await chaperone('--help');
    for (const [, name = ''] of stdout.matchAll(/^ {2}(\w+) /gm)) {
      assert.match(
        (await chaperone(name, '--help')).stdout,
        new RegExp(`usage: chaperone ${name}`),
      );
    }
  });

  test('says which port is in use, and leaves nothing running', async () => {
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const data = temporary();
    await assert.rejects(
      chaperone(
        'dev',
        '--config',
        'examples/local',
        '--data',
        data,
        '--port',
        String(port),
        '--no-demo',
      ),
      {
        code: 1,
        stderr: new RegExp(`port ${port}.*--port`),
      },
    );
    taken.close();
    const { stdout } = await run('ps', ['-eo', 'args']);
    assert.doesNotMatch(stdout, new RegExp(data));
    rmSync(data, { recursive: true });
  });

  test('says what is wrong with the first configuration, and leaves nothing running', async () => {
    const data = temporary();
    const config = temporary();
    writeFileSync(join(config, 'x.yaml'), 'kind: Nonsense\n');
    await assert.rejects(
      chaperone('dev', '--config', config, '--data', data, '--port', '0', '--no-demo'),
      {
        code: 1,
        stdout: /x\.yaml:1: kind: got "Nonsense"/,
      },
    );
    rmSync(data, { recursive: true });
    rmSync(config, { recursive: true });
  });

  test('reads times of people', () => {
    const now = Date.parse('2026-01-08T00:00:00Z');
    assert.equal(parseTime('7d', now), '2026-01-01T00:00:00.000Z');
    assert.equal(parseTime('15m', now), '2026-01-07T23:45:00.000Z');
    assert.equal(parseTime('2026-01-01', now), '2026-01-01T00:00:00.000Z');
    assert.throws(() => parseTime('soon', now), /--since/);
  });
});

describe('what others wrote, on a terminal', () => {
  test('cannot move the cursor, change a title, or reorder what is read', () => {
    assert.equal(printable('\u001b[2Jgone\u0007'), '\\u{1b}[2Jgone\\u{7}');
    assert.equal(printable('\u009b31m\u202eabc'), '\\u{9b}31m\\u{202e}abc');
    assert.equal(printable('two\nlines\t'), 'two\\nlines\\t');
  });

  test('is laid out as a table, with NULL told from text', () => {
    assert.deepEqual(table(['a', 'long name'], [['1', null], ['22', 'x']]), ['a  | long name', '---+----------', '1  | NULL', '22 | x']); // prettier-ignore
  });
});

describe('a request in a transcript', () => {
  const allowed = { action: 'Allow', wouldBe: 'Allow', reason: 'default-action', revision: 'r', policy: 'P/x' } as const; // prettier-ignore
  const headOf = (verdict: RecordedVerdict): string | undefined =>
    describeLine({ kind: 'request', seq: 7, time: 't', text: 'a', verdict })[1];

  test('says what decided where it was denied, and where it would have been', () => {
    assert.equal(headOf(allowed), 't  #7');
    const rule = { reason: 'rule', rule: 'no-b' } as const;
    assert.equal(headOf({ ...allowed, ...rule }), 't  #7');
    const denied = { ...allowed, action: 'Deny', wouldBe: 'Deny' } as const;
    assert.equal(headOf({ ...denied, ...rule }), 't  #7  DENIED by P/x, rule no-b (rule)');
    assert.equal(headOf(denied), 't  #7  DENIED by P/x (default-action)');
    const trial = { ...allowed, wouldBe: 'Deny' } as const;
    assert.equal(headOf({ ...trial, reason: 'observe', rule: 'no-b' }), 't  #7  would be DENIED by P/x, rule no-b'); // prettier-ignore
    assert.equal(headOf(trial), 't  #7  would be DENIED');
  });
});

describe('the environment of a part', () => {
  test('is refused with every mistake at once', () => {
    const env = {
      CHAPERONE_MODE: 'magic',
      CHAPERONE_LISTEN_PORT: '70000',
      CHAPERONE_NONSENSE: '1',
      PATH: '/bin',
    };
    assert.throws(() => readSidecarConfig(env), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /CHAPERONE_MODE: got "magic", want "explicit"/);
      assert.match(error.message, /CHAPERONE_LISTEN_PORT: got "70000", want an integer from 0 to 65535/);
      assert.match(error.message, /CHAPERONE_NONSENSE: got a variable of this name/);
      assert.match(error.message, /CHAPERONE_SPOOL_DIR: got nothing/);
      return true;
    }); // prettier-ignore
  });

  test('has defaults where they are safe', () => {
    const env = { CHAPERONE_COLLECTOR_KEY_FILE: '/k' };
    assert.deepEqual(readCollectorConfig(env).listen, { host: '127.0.0.1', port: 15_480 });
    assert.deepEqual(readCollectorConfig({ ...env, CHAPERONE_LISTEN: '[::1]:0' }).listen, {
      host: '::1',
      port: 0,
    });
  });
});

describe('a table of statements', () => {
  const row: StatementRow = {
    time: '2026-01-01T00:00:00.000000Z',
    principal: '@SUM(1)',
    session: 's',
    verdict: 'Allow',
    policy: '',
    rule: '',
    text: 'SELECT "x",\n\'\u202e\'',
    parameters: ['=1', null],
    rows: 1,
    status: 'ok',
    durationUs: 1_500,
  };

  test('has nothing that a spreadsheet takes for a formula', () => {
    for (const text of [
      '=1+1',
      '+1',
      '-1',
      '@x',
      '\t=1',
      '\r=1',
      ' =1',
      '\n@x',
      '|x',
      '%0A',
      '\\x',
    ]) {
      assert.doesNotMatch(csvRow({ ...row, principal: 'p', text }), /(^|,)"?\s*[=+\-@|%\\]/, text);
    }
    assert.match(csvRow(row), /,"'@SUM\(1\)",s,/);
  });

  test('quotes what has commas, quotes and lines, and shows what is not seen', () => {
    assert.ok(csvRow(row).includes(`,"SELECT ""x"",\\n'\\u{202e}'","[""=1"",null]",1,ok,1.5\r\n`));
  });

  test('as JSON reads back as it was, and holds nothing that steers a terminal', () => {
    const value = { text: '\u001b[2J\u009b1m\u202e\u2028\u{e0001}é' };
    assert.match(jsonLine(value), /^[\x20-\x7e\u00e9]+\n$/);
    assert.deepEqual(JSON.parse(jsonLine(value)), value);
  });

  test('has each request once: with its result, denied, or without an end', async () => {
    const verdict = { action: 'Allow', wouldBe: 'Allow', reason: 'default-action', revision: 'r', policy: 'P/x' } as const; // prettier-ignore
    const denied = { ...verdict, action: 'Deny', reason: 'rule', rule: 'no-b' } as const;
    const time = row.time;
    const lines: TranscriptLine[] = [
      { kind: 'session', time, session: 's', backend: 'b', principal: { kind: 'token', user: 'u' }, login: new Map() },
      { kind: 'request', seq: 1, time, text: 'a', verdict },
      { kind: 'request', seq: 2, time, text: 'b', verdict: denied },
      { kind: 'parameters', seq: 2, values: ['x'] },
      { kind: 'request', seq: 3, time, text: undefined, verdict },
      { kind: 'outcome', seq: 1, status: 'ok', command: undefined, rows: 2, durationUs: 5 },
      { kind: 'outcome', seq: 9, status: 'ok', command: undefined, rows: 2, durationUs: 5 },
    ]; // prettier-ignore
    const rows: StatementRow[] = [];
    for await (const each of statementRows((async function* () { yield* lines; })())) rows.push(each); // prettier-ignore
    assert.deepEqual(
      rows.map(({ text, verdict: action, status, rows: count, parameters, policy, rule }) => [text, action, status, count, parameters, policy, rule]),
      [['b', 'Deny', 'denied', 0, ['x'], 'P/x', 'no-b'], ['a', 'Allow', 'ok', 2, [], 'P/x', ''], [undefined, 'Allow', '', 0, [], 'P/x', '']],
    ); // prettier-ignore
  });
});
