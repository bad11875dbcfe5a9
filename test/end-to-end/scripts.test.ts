import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import type { TranscriptLine } from '#core/record/transcript.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { verifyAll } from '../support/instance.ts';
import { psql, type PsqlLogin } from '../support/psql.ts';
import { waitForSessions } from '../support/results.ts';
import { startTerminal } from '../support/terminal.ts';
import { isWhole, Random, scaled } from '../support/random.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

const scripts = ['describe', 'copy', 'notify', 'cursors', 'errors', 'large-objects'];
const cellBytes = scaled(512) * 1024 * 1024;

type Way = readonly [version: 15 | 18, agentTls: boolean, backendTls: boolean];
const ways: readonly Way[] = [
  [15, false, true],
  [18, true, true],
  [18, false, false],
  [15, false, false],
  [15, true, false],
  [15, true, true],
  [18, true, false],
  [18, false, true],
];
const fewWays = 3; // have each of the two versions, and TLS on and off on either side

for (const [version, agentTls, backendTls] of isWhole ? ways : ways.slice(0, fewWays)) {
  const on = (tls: boolean): string => (tls ? 'on' : 'off');
  describe(`scripts of psql, PostgreSQL ${version}, TLS ${on(agentTls)} for agents and ${on(backendTls)} for the backend`, () => {
    let server: BackendServer;
    let through: Through;
    let files: string;
    let direct: PsqlLogin;
    let gated: PsqlLogin;
    before(async () => {
      files = mkdtempSync(join(tmpdir(), 'chaperone-scripts-'));
      writeFileSync(join(files, 'object'), new Random(7).bytes(1_000_000));
      server = await startBackendServer({ version, tls: backendTls });
      through = await startThrough(server);
      direct = { ...server, settings: backendTls ? 'sslmode=require' : 'sslmode=disable' };
      gated = {
        ...through,
        user: 'agent',
        settings: `sslmode=${agentTls ? 'require' : 'disable'}`,
      };
    });
    after(async () => {
      await through[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      rmSync(files, { recursive: true });
    });

    /** What a script says and what it leaves behind, in a database of its own. */
    async function play(login: PsqlLogin, script: string, args: readonly string[] = []) {
      const database = 'played'; // of the same name and, being made alike, with the same OIDs as seen from within
      await psql(direct, `DROP DATABASE IF EXISTS ${database}`);
      await psql(direct, `CREATE DATABASE ${database} TEMPLATE template0`);
      const [file, copy] = [join(files, 'object'), join(files, 'copy')];
      rmSync(copy, { force: true });
      const own = join(files, 'own');
      writeFileSync(own, readFileSync(file));
      // \copy takes its line as it is, without variables.
      const said = await psql({ ...login, database }, script.replaceAll('<file>', `'${own}'`), [
        '-v',
        `file=${own}`,
        '-v',
        `copy=${copy}`,
        ...args,
      ]);
      const written = [own, copy].map((path) => (existsSync(path) ? digest(readFileSync(path)) : 'none')); // prettier-ignore
      return {
        code: said.code,
        out: normal(said.out),
        err: normal(said.err),
        written,
        effects: (await psql({ ...direct, database }, everything, ['-At'])).out,
      };
    }

    for (const name of scripts) {
      test(`${name}: says the same through the sidecar, and does the same`, async () => {
        const script = readFileSync(join(import.meta.dirname, 'scripts', `${name}.sql`), 'utf8');
        const args = name === 'copy' || name === 'notify' ? [] : ['-e'];
        const expected = await play(direct, script, args);
        assert.match(expected.effects, /all of it/);
        assert.ok(expected.out.length > 100, expected.err);
        assert.deepEqual(await play(gated, script, args), expected);
        if (name === 'copy') assert.equal(expected.err.match(/ERROR/g)?.length, 2, expected.err);
      });
    }

    // It takes its time, and half the ways are enough.
    if (agentTls === backendTls)
      test('a cell of many megabytes is the same', async () => {
        const script = `\\o |sha256sum\nSELECT repeat('0123456789abcdef', ${cellBytes / 16});\n`;
        const expected = await psql(direct, script, ['-At']);
        assert.match(expected.out, /^[0-9a-f]{64}/);
        assert.deepEqual(await psql(gated, script, ['-At']), expected);
      });

    test('a notification reaches a session that does nothing', async () => {
      const ssl = agentTls && { rejectUnauthorized: false };
      const { host, port, password } = gated;
      const client = new Client({ host, port, password, ssl, user: 'agent', database: 'postgres' });
      await client.connect();
      await client.query('LISTEN idle');
      const heard = once(client, 'notification');
      await psql(direct, "NOTIFY idle, 'woken'");
      const [{ channel, payload }] = (await heard) as [{ channel: string; payload: string }];
      assert.deepEqual([channel, payload], ['idle', 'woken']);
      await client.end();
    });

    test('a session that another one terminates is told so in the server’s words', async () => {
      const end = async (login: PsqlLogin): Promise<string> => {
        const name = `victim_${Math.trunc(performance.now())}`;
        const victim = psql(
          { ...login, settings: `${login.settings ?? ''} application_name=${name}` },
          "SELECT 'here';\nSELECT pg_sleep(60);\nSELECT 'gone';",
        );
        await until('it sleeps', async () => {
          const asked = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '${name}' AND query LIKE '%sleep(60)%' AND state = 'active'`;
          return (await psql(direct, asked, ['-At'])).out.includes('t');
        });
        const { out, err, code } = await victim;
        return [code, out, normal(err)].join('\n');
      };
      const expected = await end(direct);
      assert.match(expected, /FATAL: {2}terminating connection due to administrator command/);
      assert.equal(await end(gated), expected);
    });

    test('Ctrl-C ends a query, and \\watch, and the session goes on', async () => {
      for (const login of [direct, gated]) {
        await using terminal = startTerminal(login);
        await terminal.see(/=# $/);
        const asleep = async (query: string): Promise<void> => {
          const asked = `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '${query}%'`;
          await until(`${query} runs`, async () =>
            (await psql(direct, asked, ['-At'])).out.startsWith('1'),
          );
        };
        terminal.type("SELECT 'slept', pg_sleep(60);\r");
        await asleep("SELECT ''slept''");
        terminal.type('\x03');
        await terminal.see(/ERROR: {2}canceling statement due to user request[^]*=# $/);
        terminal.type("SELECT 'watched' \\watch 0.1\r");
        await terminal.see(/(?:watched[^]*){4}/);
        terminal.type('\x03');
        await terminal.see(/=# $/);
        // During the query, too, that it repeats.
        terminal.type("SELECT 'watched long', pg_sleep(60) \\watch 1\r");
        await asleep("SELECT ''watched long''");
        terminal.type('\x03');
        await terminal.see(/canceling statement due to user request[^]*=# $/);
        terminal.type("SELECT 'still ' || 'usable';\r");
        await terminal.see(/still usable/);
        terminal.type('\\q\r');
        assert.equal(await terminal.exited, 0);
      }
    });

    test('SIGINT ends \\watch', async () => {
      await using terminal = startTerminal(gated);
      await terminal.see(/=# $/);
      terminal.type("SELECT 'signalled' \\watch 0.1\r");
      await terminal.see(/(?:signalled[^]*){3}/);
      terminal.interrupt();
      await terminal.see(/=# $/);
      terminal.type("SELECT 'still ' || 'usable';\r");
      await terminal.see(/still usable/);
      terminal.type('\\q\r');
      assert.equal(await terminal.exited, 0);
    });

    test('text in another client_encoding is the same, and its record shows the right characters', async () => {
      const texts: [encoding: string, text: string, bytes: string][] = [
        ['LATIN1', 'Größe café', '4772f6df6520636166e9'],
        ['WIN1252', 'Preis 5 € „x“', '507265697320352080208478' + '93'],
        ['SJIS', '表示 日本語', '955c8ea6209693967b8cea'.replace('9693967b', '93fa967b')],
        ['EUC_JP', '日本語', 'c6fccbdcb8ec'],
        ['UTF8', '日本語 €', 'e697a5e69cace8aa9e20e282ac'],
      ];
      for (const [encoding, text, hex] of texts) {
        const bytes = Buffer.from(hex, 'hex');
        const script = Buffer.from(
          `SET client_encoding = '${encoding}';\nSELECT '~' AS "~";\nSELECT * FROM "~";\nCOPY (SELECT '~') TO STDOUT;\n`
            .split('~')
            .join(bytes.toString('latin1')),
          'latin1',
        );
        const expected = await psql(direct, script);
        assert.deepEqual(await psql(gated, script), expected);
        assert.ok(expected.bytes.includes(bytes), `${encoding}: ${expected.err}`);
        const lines = await newest(`SET client_encoding = '${encoding}'`);
        assert.ok(
          lines.some(
            (line) => line.kind === 'request' && line.text === `SELECT '${text}' AS "${text}";`,
          ),
          encoding,
        );
        assert.ok(lines.some((line) => line.kind === 'columns' && line.names[0] === text));
        assert.ok(lines.some((line) => line.kind === 'row' && line.cells[0] === text));
        assert.ok(
          lines.some((line) => line.kind === 'error' && line.message.includes(`"${text}"`)),
        );
        assert.ok(lines.some((line) => line.kind === 'copy' && line.text === `${text}\n`));
      }
    });

    /** The transcript of the newest session with a statement that holds a text, once it is all there. */
    async function newest(text: string): Promise<TranscriptLine[]> {
      const client = through.instance.collector();
      const { id } = await until(`a session with ${text} is stored`, async () => {
        const [session] = await client.sessions({ text });
        return session?.endedAt === null ? undefined : session;
      });
      const lines: TranscriptLine[] = [];
      for await (const line of transcribe(client.frames(id))) lines.push(line);
      return lines;
    }

    test('and every session verifies', async () => {
      await waitForSessions(through.instance);
      assert.deepEqual(await verifyAll(through.instance), ['consistent']);
    });
  });
}

/** Lists what is in a database, with a checksum of each content. pg_dump cannot: it must not be older than the server. */
const everything = `
  SELECT n.nspname, c.relname, c.relkind, md5(CASE WHEN c.relkind IN ('r', 'v', 'm', 'S')
    THEN query_to_xml(format('SELECT t::text FROM %I.%I t ORDER BY 1', n.nspname, c.relname), true, false, '')::text END)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2;
  SELECT proname, md5(prosrc) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1;
  SELECT count(*) OVER (), md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 2;
  SELECT 'all of it';
`;

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Leaves out what is never the same twice. */
function normal(text: string): string {
  return (
    text
      // How the connection was lost depends on its being encrypted, which is not the same on both ways.
      .replaceAll(
        /SSL connection has been closed unexpectedly\n|server closed the connection unexpectedly\n(?:\t.*\n)*/g,
        'closed\n',
      )
      .replaceAll(/\b16\d{3}\b/g, '16oid') // what was made since initdb
      .replaceAll(/server process with PID \d+/g, 'server process with PID n')
      .replaceAll(/connection to server at "[^"]+", port \d+/g, 'connection to server')
  );
}
