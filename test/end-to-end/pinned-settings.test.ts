import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { buildQuery } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import {
  pinnedDatabase,
  pinnedRights,
  pinnedStartups,
  pinnedTries,
  type PinnedTry,
} from '../support/pinned-tries.ts';
import { writePolicy } from '../support/policy-file.ts';
import { scaled } from '../support/random.ts';
import { RawClient, type RawLogin } from '../support/raw-client.ts';
import { startThrough, type Through } from '../support/through.ts';

const probe = `SELECT 'agent is ' || current_setting('app.agent'); SELECT body FROM notes`;
const ready = (answer: string): boolean => answer.startsWith('Z');
const isAnswered = (frame: Buffer): boolean => 'QSF'.includes(String.fromCharCode(frame[0] ?? 0));

/** Plays a try with a probe after each step, and returns all answers and those of the last probe. */
async function play(
  login: RawLogin,
  { steps }: Pick<PinnedTry, 'steps'>,
): Promise<{ readonly all: string; readonly last: string }> {
  const all: string[] = [];
  let client = await RawClient.connect(login);
  const send = async (...frames: readonly Buffer[]): Promise<string[]> => {
    client.send(...frames);
    const answers: string[] = [];
    for (let left = frames.filter(isAnswered).length; left > 0 && !client.closed; left -= 1)
      answers.push(...(await client.read(ready)));
    all.push(...answers);
    return answers;
  };
  const again = async (): Promise<void> => {
    client.send(buildMessage('X'));
    await client.end();
    client = await RawClient.connect(login);
  };
  for (const step of steps) {
    if (step === 'RECONNECT') await again();
    else {
      const parts = typeof step === 'string' ? [step] : step;
      await send(...parts.map((part) => (typeof part === 'string' ? buildQuery(part) : part)));
      if (client.closed) await again();
    }
    await send(buildQuery(probe));
  }
  await send(buildQuery('ROLLBACK'), buildQuery(`SET client_encoding = 'UTF8'`));
  const last = await send(buildQuery(probe));
  client.send(buildMessage('X'));
  await client.end();
  return { all: all.join('\n'), last: last.join('\n') };
}

async function asOwner(server: BackendServer, query: string): Promise<void> {
  const { host, port, user, password } = server;
  const client = new Client({ host, port, user, password, database: 'postgres' });
  await client.connect();
  await client.query(query);
  await client.end();
}

const opaque = ['DO', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE TRIGGER', 'CALL', 'EXECUTE', 'FUNCTION CALL']; // prettier-ignore
const modes: readonly [version: 15 | 18, what: string, spec: object][] = [
  [15, 'a policy that observes', { mode: 'Observe', defaultAction: 'Allow' }],
  [
    18,
    'a policy that allows everything',
    {
      mode: 'Enforce',
      defaultAction: 'Deny',
      rules: [
        {
          name: 'all',
          backends: ['through'],
          anySubject: true,
          postgres: {
            commands: ['*', ...opaque, 'SELECT', 'COPY TO', 'INSERT'],
            tables: [{ name: '*' }],
            functions: ['*'],
          },
          action: 'Allow',
        },
      ],
    },
  ],
];

for (const [version, what, spec] of modes) {
  describe(`a setting that the gateway has pinned, on PostgreSQL ${version} under ${what}`, () => {
    let server: BackendServer;
    let through: Through;
    let alice: RawLogin;
    let bob: RawLogin;
    before(async () => {
      server = await startBackendServer({ version, authentication: 'password' });
      await asOwner(server, pinnedDatabase + pinnedRights);
      through = await startThrough(server, {
        credential: { type: 'Password', username: 'keeper', password: 'kept' },
        spec: { postgres: { settings: [{ name: 'app.agent', value: 'principal.user' }] } },
        prepare: (config) => writePolicy(config, spec),
      });
      const { host, port, instance } = through;
      const common = { host, port, user: 'agent', database: 'postgres' };
      alice = { ...common, password: await instance.token({ sub: 'alice', ttl: '86400' }) };
      bob = { ...common, password: await instance.token({ sub: 'bob', ttl: '86400' }) };
    });
    after(async () => {
      await through[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });

    test('shows each of two agents its own rows', async () => {
      for (const [name, login, others] of [
        ['alice', alice, 'bob'],
        ['bob', bob, 'alice'],
      ] as const) {
        // prettier-ignore
        const { last } = await play(login, { steps: [] });
        assert.match(last, new RegExp(`agent is ${name}`));
        assert.match(last, new RegExp(`body of ${name}`));
        assert.doesNotMatch(last, new RegExp(`body of ${others}`));
      }
    });

    const direct = (): RawLogin => ({
      ...server,
      user: 'keeper',
      password: 'kept',
      database: 'postgres',
      parameters: { 'app.agent': 'alice' },
    });
    const works = pinnedTries.filter(({ inVain }) => !inVain);
    for (const each of works.filter((_, index) => index % 10 < scaled(10)))
      test(`would be changed without the gateway by ${each.what}`, async () => {
        const { all } = await play(direct(), each);
        assert.match(all, /agent is bob|body of bob/, all.slice(-2_000));
        await asOwner(server, `DROP OWNED BY keeper CASCADE; ${pinnedRights}`);
      });

    for (const each of pinnedTries)
      test(`stays what it is after ${each.what}`, async () => {
        const { all, last } = await play(alice, each);
        assert.doesNotMatch(all, /agent is bob|body of bob/, all.slice(-2_000));
        assert.match(last, /agent is alice[^]*body of alice/, all.slice(-2_000));
      });

    for (const [how, parameters] of pinnedStartups)
      test(`cannot be wished for at the login by ${how}`, async () => {
        const client = await RawClient.connect({ ...alice, parameters });
        const answers = await client.end();
        assert.match(answers.join('\n'), /set by the gateway|options may hold nothing but/);
      });

    test('shows each of them its own rows at last', async () => {
      const [hers, his] = await Promise.all([
        play(alice, { steps: ['RESET ALL', 'DISCARD ALL'] }),
        play(bob, { steps: ['RESET ALL', 'DISCARD ALL'] }),
      ]);
      assert.match(hers.last, /agent is alice[^]*body of alice/);
      assert.doesNotMatch(hers.all, /body of bob/);
      assert.match(his.last, /agent is bob[^]*body of bob/);
      assert.doesNotMatch(his.all, /body of alice/);
    });
  });
}

/** What is pinned, what it is set to otherwise without the gateway, and what the server shows then. */
const otherNames: readonly {
  readonly pinned: string;
  readonly value: string;
  readonly show: string;
  readonly tries: readonly (readonly [what: string, ...steps: string[]])[];
}[] = [
  {
    pinned: 'work_mem',
    value: '7MB',
    show: '9MB',
    tries: [
      ['by the name that it had before', `SET sort_mem = '9MB'`],
      ['by set_config of that name', `SELECT set_config('SORT_MEM', '9MB', false)`],
      [
        'through a view of the settings',
        'CREATE TEMP VIEW v AS TABLE pg_settings',
        `UPDATE v SET setting = '9216' WHERE name = 'work_mem'`,
      ],
    ],
  },
  {
    pinned: 'default_transaction_read_only',
    value: 'on',
    show: 'off',
    tries: [
      ['for one transaction', 'BEGIN READ WRITE'],
      ['within a transaction', 'BEGIN', 'SET TRANSACTION READ WRITE'],
      ['as a setting', 'BEGIN', 'SET transaction_read_only = off'],
    ],
  },
];

describe('a setting that goes by other names', () => {
  for (const { pinned, value, show, tries } of otherNames) {
    const shown = pinned.replace('default_', '');
    test(`keeps ${pinned} whatever it is called`, async () => {
      await using server = await startBackendServer({ version: 18, authentication: 'password' });
      await using through = await startThrough(server, {
        spec: { postgres: { settings: [{ name: pinned, value: `"${value}"` }] } },
        prepare: (config) => writePolicy(config, { mode: 'Observe' }),
      });
      const ways: readonly [RawLogin, boolean][] = [
        [{ ...server, database: 'postgres', parameters: { [pinned]: value } }, true],
        [{ ...through, user: 'agent', database: 'postgres' }, false],
      ];
      for (const [what, ...steps] of tries)
        for (const [login, changes] of ways) {
          const client = await RawClient.connect(login);
          const answers: string[] = [];
          for (const step of [...steps, `SHOW ${shown}`]) {
            client.send(buildQuery(step));
            answers.push(...(await client.read(ready)));
          }
          client.destroy();
          const row = answers.findLast((answer) => answer.startsWith('D'));
          const isChanged = row?.endsWith(show) === true && row.length > show.length;
          assert.equal(isChanged, changes, `${what}: ${answers.join(' / ')}`);
        }
      const wished = await RawClient.connect({
        ...through,
        user: 'agent',
        database: 'postgres',
        parameters: { options: '-c sort_mem=9MB -c default_transaction_read_only=off' },
      });
      assert.match((await wished.end()).join(), /set by the gateway/);
    });
  }
});
