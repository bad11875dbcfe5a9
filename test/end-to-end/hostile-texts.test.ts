import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { bind, parse } from '../support/extended-query.ts';
import { hostileTexts } from '../support/hostile-texts.ts';
import { ruleOf, writePolicy } from '../support/policy-file.ts';
import { scaled } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';
import { startThrough, type Through } from '../support/through.ts';

const marker = 'MARKER-90c2e61b';
const secret = 'SELECT secret FROM salaries';
const open = `SELECT 'harmless'`;
/** PostgreSQL cuts names after 63 bytes, and never within a character. */
const longName = 'x'.repeat(62);
const rounds = scaled(20);

describe('texts that are hard on a parser', () => {
  let server: BackendServer;
  let through: Through;
  let owner: Client;
  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'password' });
    const { host, port, user, password } = server;
    owner = new Client({ host, port, user, password, database: 'postgres' });
    await owner.connect();
    await owner.query(`CREATE TABLE salaries (secret text); INSERT INTO salaries VALUES ('${marker}');
      CREATE TABLE ${longName} (secret text); INSERT INTO ${longName} VALUES ('${marker}');
      CREATE TABLE "salariés" (secret text); INSERT INTO "salariés" VALUES ('${marker}');
      CREATE TABLE victim ()`);
    through = await startThrough(server, {
      prepare: (config) => writePolicy(config, spec),
    });
  });
  after(async () => {
    await owner.end();
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const connect = async (): Promise<RawClient> => {
    const { host, port, password } = through;
    return RawClient.connect({ host, port, password, user: 'agent', database: 'postgres' });
  };

  /** Sends a text on a connection that is there afterwards, and returns what came. */
  async function send(client: RawClient, ...frames: readonly Buffer[]): Promise<string> {
    client.send(...frames);
    const answers = await client.read((answer) => answer.startsWith('Z'));
    assert.ok(!client.closed, 'the connection stays');
    return answers.join('\n');
  }

  /** Another session, which goes on with texts of its own until it is told to end. Returns how many it had answered. */
  async function workMeanwhile(): Promise<{ readonly stop: () => Promise<number> }> {
    const { host, port, password } = through;
    const other = new Client({ host, port, password, user: 'other', database: 'postgres' });
    await other.connect();
    let stopped = false;
    let count = 0;
    other.on('error', () => undefined); // the query says so
    const work = (async () => {
      while (!stopped) {
        count += 1;
        // Each of them is a new text, which the grammar has to read.
        const { rows } = await other.query<{ n: number }>(`SELECT ${count} AS n`);
        assert.equal(rows[0]?.n, count);
      }
    })();
    return {
      stop: async () => {
        stopped = true;
        await work;
        await other.end();
        return count;
      },
    };
  }

  for (const { what, text } of hostileTexts)
    test(`are judged right or refused, again and again, while others work: ${what}`, async () => {
      const client = await connect();
      const others = await workMeanwhile();
      const run = buildExecute('', 0);
      for (let round = 0; round < rounds; round += 1) {
        const hiding = text(secret, round);
        const answers = [
          await send(client, buildQuery(hiding)),
          await send(client, parse('', hiding), bind(''), run, buildSync()),
          await send(client, buildQuery(text(open, round))),
        ];
        assert.doesNotMatch(answers.join('\n'), new RegExp(marker));
        for (const answer of answers.slice(0, 2))
          assert.match(answer, /^E /m, answer.slice(0, 500));
        const again = `SELECT 'judged ${what} ${round}'`;
        assert.match(await send(client, buildQuery(again)), new RegExp(`judged ${what} ${round}`));
        assert.match(await send(client, buildQuery(`SELECT ${round}, (${secret})`)), /denied by/);
      }
      client.destroy();
      assert.ok((await others.stop()) > 0);
    });

  const bytes = (...parts: readonly (string | Buffer)[]): Buffer =>
    buildMessage('Q', Buffer.concat([...parts.map((part) => Buffer.from(part)), Buffer.of(0)]));
  const texts: readonly [what: string, ...steps: (string | Buffer)[]][] = [
    ['a name that is cut', `SELECT secret FROM ${longName}é`],
    ['a name that is cut, of many characters', `SELECT secret FROM ${longName}${'é'.repeat(100)}`],
    ['a name that is cut, in quotes', `SELECT secret FROM "${longName}éxyz"`],
    ['a name that is cut, of four bytes', `SELECT secret FROM ${longName}\u{1f600}`],
    ['a name that is cut, by escapes', `SELECT secret FROM U&"${longName}\\00e9"`],
    ['a name with an accent', 'SELECT secret FROM salariés'],
    ['a name with an accent, by escapes', 'SELECT secret FROM U&"salari\\00e9s"'],
    [
      'a name with an accent in LATIN1',
      `SET client_encoding = 'LATIN1'`,
      bytes('SELECT secret FROM salari', Buffer.of(0xe9), 's'),
    ],
    [
      'a name with an accent in WIN1252',
      `SET client_encoding = 'WIN1252'`,
      bytes('SELECT secret FROM salari', Buffer.of(0xe9), 's'),
    ],
    ['what is no UTF-8', bytes('SELECT ', Buffer.of(0x27, 0xff, 0x27), `, (${secret})`)],
    [
      'a quote within a cut character',
      bytes(`SELECT '`, Buffer.of(0xe3, 0x27), `, (${secret}) --'`),
    ],
    [
      'a backslash within a character of SJIS',
      `SET client_encoding = 'SJIS'`,
      bytes(`SELECT E'`, Buffer.of(0x83, 0x5c), `', (${secret}) --'`),
    ],
    [
      'a backslash within a character of BIG5',
      `SET client_encoding = 'BIG5'`,
      bytes(`SELECT E'`, Buffer.of(0xa5, 0x5c), `', (${secret}) --'`),
    ],
    [
      'a quote within a character of GB18030',
      `SET client_encoding = 'GB18030'`,
      bytes(`SELECT '`, Buffer.of(0x81, 0x30, 0x81, 0x30), `', (${secret}) --'`),
    ],
    [
      'strings of another kind',
      'SET standard_conforming_strings = off',
      `SELECT '\\'', (${secret}) --'`,
    ],
    ['quotes behind a backslash', 'SET backslash_quote = on', `SELECT E'\\'', (${secret}) --'`],
    ['a NUL', bytes(`SELECT 1\0; ${secret}`)],
    ['a NUL in a name', bytes(`SELECT secret FROM salaries\0x`)],
    ['a vertical tab', `SELECT\vsecret\vFROM\vsalaries`],
    ['a mark of byte order', `\ufeffSELECT 1; ${secret}`],
    ['a space that is none', `SELECT secret\u00a0FROM salaries; ${secret}`],
    ['a comment between strings', `SELECT 'a' -- '\n'b', (${secret})`],
    ['comments in operators', `SELECT 1 +/* */- 1, (${secret}) /* -- */`],
    ['dollar quotes with accents', `SELECT $é$'$é$, (${secret})`],
    ['dollars in names', `SELECT 1 AS a$b$, (${secret}) AS c$b$`],
  ];
  for (const [what, ...steps] of texts)
    test(`show nothing by ${what}`, async () => {
      const client = await connect();
      const answers: string[] = [];
      for (const step of steps) {
        client.send(typeof step === 'string' ? buildQuery(step) : step);
        answers.push(...(await client.read((answer) => answer.startsWith('Z'))));
      }
      client.destroy();
      assert.doesNotMatch(answers.join('\n'), new RegExp(marker));
      assert.match(answers.join('\n'), /^[EF] |^E /m);
    });
});

const spec = {
  defaultAction: 'Allow',
  rules: [
    ruleOf({
      postgres: { tables: ['salaries', longName, '"salariés"'].map((name) => ({ name })) },
      action: 'Deny',
    }),
  ],
};
