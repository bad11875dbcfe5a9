import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { projectDirectory } from '../../cli/instance.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { flipped } from '../support/logs.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const program = join(projectDirectory, 'cli/main.ts');

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function chaperone(...args: readonly string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await run(process.execPath, [program, ...args], { maxBuffer: 1 << 28 }); // prettier-ignore
    return { code: 0, out: stdout, error: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }; // execFile attaches them
    return { code, out: stdout, error: stderr };
  }
}

describe('the evidence of an instance', () => {
  let instance: TestInstance;
  let directory: string;
  let session: string;
  const file = (name: string): string => join(directory, name);
  const of = (...args: readonly string[]): Promise<Ran> =>
    chaperone(...args, '--data', instance.data);

  /** Runs statements as a principal, and returns the session once it is stored to its end. */
  async function worked(who: string, ...statements: readonly string[]): Promise<string> {
    const client = await instance.connect({ password: await instance.token({ sub: who }) });
    for (const sql of statements) await client.query(sql).catch(() => undefined);
    await client.end();
    return until(`the session of ${who} is stored`, async () => {
      const [newest] = await instance.collector().sessions({ who });
      return newest?.endedAt === null ? undefined : newest?.id;
    });
  }

  /** Waits until a session is complete, since the ledger has its stream only after a while. */
  const complete = (id: string): Promise<string> =>
    until(`${id} is complete`, async () => {
      const { code, out } = await of('verify', id);
      return code === 0 ? out : undefined;
    });

  before(async () => {
    instance = await startInstance();
    directory = mkdtempSync(join(tmpdir(), 'chaperone-evidence-'));
    session = await worked('auditor', 'SELECT 1 AS one', "SELECT '=1+1' AS \"\u001b[2J\"", 'SELECT nonsense'); // prettier-ignore
    await complete(session);
  });
  after(async () => {
    await instance[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('an export is verified offline, and trust decides how much is proven', async () => {
    const path = file('session.export');
    const exported = await of('sessions', 'export', session, '--output', path);
    assert.deepEqual([exported.code, exported.error], [0, '']);
    const { publicKeyFile, ledgerFile } = instance.instance.collector;
    assert.equal(exported.out.split('\n')[0], `${path}: ${statSync(path).size} bytes`);
    assert.ok(exported.out.includes(`--trust ${publicKeyFile}`));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const other = file('other.pem');
    writeFileSync(other, generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })); // prettier-ignore
    const expected: [args: string[], code: number, out: RegExp][] = [
      [['--trust', publicKeyFile], 0, /^complete \(\d+ records\)\n$/],
      [['--trust', other, '--trust', publicKeyFile], 0, /^complete/],
      [['--ledger', ledgerFile], 0, /^complete/],
      [[], 4, /^consistent, origin unproven: neither a key/],
      [['--trust', other], 4, /^consistent, origin unproven: no trusted line/],
    ];
    for (const [args, code, out] of expected) {
      const ran = await chaperone('verify', path, ...args);
      assert.equal(ran.code, code, args.join(' '));
      assert.match(ran.out, out);
      assert.match(ran.error, args.length === 0 ? /--trust takes the public key/ : /^$/);
    }
    const tampered = file('tampered.export');
    const bytes = readFileSync(path);
    writeFileSync(tampered, flipped(bytes, bytes.length - 100));
    const ran = await chaperone('verify', tampered, '--trust', publicKeyFile);
    assert.equal(ran.code, 1);
    assert.match(ran.out, /^broken at \d+: /);
  });

  test('an export replaces no file, and goes to a pipe as it is', async () => {
    const path = file('there');
    writeFileSync(path, 'x');
    const refused = await of('sessions', 'export', session, '--output', path);
    assert.deepEqual([refused.code, readFileSync(path, 'utf8')], [1, 'x']);
    assert.match(refused.error, /is there already/);
    const { stdout } = await run(process.execPath, [program, 'sessions', 'export', session, '--data', instance.data], { encoding: 'buffer' }); // prettier-ignore
    assert.ok(stdout.subarray(0, 20).equals(Buffer.from('chaperone/export/v1\n')));
    assert.equal((await of('sessions', 'export', '00000000', '--output', file('none'))).code, 1);
    assert.ok(!existsSync(file('none')));
  });

  test('a copy of the ledger that was changed is refused before anything is said of the export', async () => {
    const path = file('with-ledger.export');
    await of('sessions', 'export', session, '--output', path);
    const { ledgerFile, publicKeyFile } = instance.instance.collector;
    const copy = file('ledger');
    writeFileSync(copy, readFileSync(ledgerFile, 'utf8').replace('"pod":"local"', '"pod":"other"'));
    const ran = await chaperone('verify', path, '--trust', publicKeyFile, '--ledger', copy);
    assert.deepEqual([ran.code, ran.out], [1, '']);
    assert.match(ran.error, /copy of the ledger .* is broken at line 1: no trusted key has signed it/); // prettier-ignore
  });

  test('statements are exported as a table that a spreadsheet and a terminal can be given', async () => {
    const csv = await of('sessions', 'export', session, '--as', 'csv');
    const lines = csv.out.split('\r\n');
    assert.match(lines[0] ?? '', /^time,principal,session,verdict,policy,rule,text,parameters,rows,status,duration_ms$/);
    assert.match(lines[1] ?? '', new RegExp(`^[^,]+,"?auditor"?,${session},Allow,"?[^,]*"?,,"SELECT 1 AS one",,1,ok,[\\d.]+$`));
    assert.match(lines[2] ?? '', /"SELECT '=1\+1' AS ""\\u\{1b\}\[2J""",,1,ok,/);
    assert.match(lines[3] ?? '', /SELECT nonsense.*,0,error,/);
    assert.equal(lines.length, 5);
    const ndjson = await of('sessions', 'export', session, '--as', 'ndjson');
    const rows = ndjson.out.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(rows.map(({ text, status, rows: count }) => [text, status, count]), [
      ['SELECT 1 AS one', 'ok', 1], ["SELECT '=1+1' AS \"\u001b[2J\"", 'ok', 1], ['SELECT nonsense', 'error', 0],
    ]);
    for (const { out } of [csv, ndjson]) assert.doesNotMatch(out, /\p{Cc}(?<![\r\n])/u);
  }); // prettier-ignore

  test('a stream is exported and verified by its id, and its sessions are listed', async () => {
    const { stream } = await instance.collector().session(session);
    const path = file('stream.export');
    assert.equal((await of('sessions', 'export', stream, '--stream', '--output', path)).code, 0);
    const { publicKeyFile } = instance.instance.collector;
    const ran = await chaperone('verify', path, '--trust', publicKeyFile);
    assert.match(ran.out, /^unbroken up to \d+, end unknown\n$/);
    assert.equal(ran.code, 3);
    assert.equal((await of('verify', stream)).code, 3);
    assert.match((await of('sessions', 'export', stream, '--stream', '--as', 'ndjson')).out, /SELECT 1 AS one/); // prettier-ignore
  });

  test('what runs is told as it comes, of all sessions, also after the collector was restarted', async () => {
    const tail = spawn(process.execPath, [program, 'sessions', 'tail', '-f', '--data', instance.data]);
    let told = '';
    let complained = '';
    tail.stdout.on('data', (piece: Buffer) => (told += piece.toString()));
    tail.stderr.on('data', (piece: Buffer) => (complained += piece.toString()));
    try {
      const client = await instance.connect({ password: await instance.token({ sub: 'followed' }) });
      let count = 0;
      await until('a statement is told', async () => {
        await client.query(`SELECT ${(count += 1)} AS first_marker`);
        return told.includes('first_marker');
      });
      process.kill(instance.instance.pids.collector, 'SIGKILL');
      await until('it waits', () => complained.includes('waiting for it'));
      await client.query("SELECT 'told later \u001b[2J' AS second_marker");
      await until('it is told once the collector is back', () => told.includes('second_marker'));
      await client.end();
      await until('the end is told', () => /ended .*agent-closed/.test(told));
      assert.match(told, /^[0-9a-f-]{13} {2}.*#\d+$/m);
      assert.doesNotMatch(told, /\p{Cc}(?<!\n)/u);
      assert.equal(told.split('second_marker').length, 2);
    } finally {
      tail.kill();
      await once(tail, 'exit');
    }
  }); // prettier-ignore

  test('one session is followed to its end, with the texts that it prepared before', async () => {
    const client = await instance.connect({ password: await instance.token({ sub: 'prepared' }) });
    await client.query({ name: 'known', text: 'SELECT $1::int AS prepared_marker', values: [1] });
    const id = await until('it is stored', async () => (await instance.collector().sessions({ who: 'prepared' }))[0]?.id); // prettier-ignore
    const tail = spawn(process.execPath, [program, 'sessions', 'tail', '-f', id, '--data', instance.data]); // prettier-ignore
    const ended = once(tail, 'exit');
    let told = '';
    tail.stdout.on('data', (piece: Buffer) => (told += piece.toString()));
    let value = 1;
    await until('a statement is told', async () => {
      await client.query({ name: 'known', text: 'SELECT $1::int AS prepared_marker', values: [(value += 1)] }); // prettier-ignore
      return told.includes('prepared_marker');
    });
    await client.end();
    assert.deepEqual(await ended, [0, null]);
    assert.match(told, /ended .*: agent-closed/);
    assert.doesNotMatch(told, /\$1 = 1$/m);
  });

  test('an erased session still verifies, says what was erased, and shows nothing of it', async () => {
    const erased = await worked('forgotten', "SELECT 'to be forgotten'");
    await complete(erased);
    const ran = await of('erase', erased, '--who', 'an officer', '--why', 'asked for');
    assert.match(ran.out, /^erased \d+ payloads of session .*, by order of an officer\n$/);
    assert.match(
      await complete(erased),
      /^complete \(\d+ records\); \d+ payloads were erased: \d+/,
    );
    assert.doesNotMatch((await of('sessions', 'show', erased)).out, /forgotten'/);
    const again = await of('erase', erased, '--who', 'an officer', '--why', 'asked for');
    assert.match(again.out, /no content that is left/);
    const short = await of('erase', erased.slice(0, 8), '--who', 'x', '--why', 'y');
    assert.deepEqual([short.code, short.out], [2, '']);
  });

  test('findings are listed, for people and for programs', async () => {
    const listed = await of('findings', '--json');
    assert.equal(listed.code, 0);
    const { out } = await of('findings');
    assert.match(out, listed.out === '' ? /^no findings\n$/ : /^\d{4}-/);
  });

  test('all of it is verified at once: the ledger, its copy, and every stream', async () => {
    const { code, out } = await of('verify', '--all');
    assert.equal(code, 3, out); // one stream is being written
    assert.match(out, /^copy of the ledger in .*: whole, \d+ lines\nledger of the store: whole, \d+ lines\nstream [0-9a-f-]{36} of local\/local: unbroken up to \d+, end unknown/);
  }); // prettier-ignore
});

describe('the evidence of an instance that was stopped and started again', () => {
  test('verifies as complete, also what a killed process left', async () => {
    await using instance = await startInstance();
    const work = async (marker: string): Promise<void> => {
      const client = await instance.connect({ password: await instance.token({ sub: marker }) });
      await client.query(`SELECT '${marker}'`);
      await client.end().catch(() => undefined);
    };
    await work('before');
    const { sidecar } = instance.instance.pids;
    process.kill(sidecar, 'SIGKILL');
    await until('the sidecar is back', () => instance.instance.pids.sidecar !== sidecar);
    await until('it works', () => work('after').then(() => true, () => false)); // prettier-ignore
    const lines = await until('the killed stream is complete', async () => {
      const { out } = await chaperone('verify', '--all', '--data', instance.data);
      return out.includes(': complete') ? out : undefined;
    });
    assert.match(lines, /stream \S+ of local\/local: complete \(\d+ records\)/);
    assert.doesNotMatch(lines, /: broken at/);
  });
});
