import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { python } from './python.ts';
import { Routes, type Login } from './routes.ts';

/** Settings of libpq, and what came of connecting with them. */
type Way = Readonly<Record<string, string>>;
type Outcome = Readonly<Record<string, unknown>>;

const protocols: readonly [setting: Way, spoken: number][] = [
  [{}, 30_000],
  [{ max_protocol_version: 'latest' }, 30_002],
  [{ min_protocol_version: '3.2', max_protocol_version: 'latest' }, 30_002],
  [{ min_protocol_version: '3.0', max_protocol_version: '3.0' }, 30_000],
];

const connected = (protocol: number, tls: boolean): Outcome => ({
  protocol,
  tls,
  copied: 500_500,
  safely: ['57014', 'goes on'],
  plainly: ['57014', 'goes on'],
});

/** Ways with TLS: every mode, begun as of old and at once. The file of the CA comes with the route. */
function secureWays(caFile: string): readonly (readonly [Way, Outcome])[] {
  const modes: readonly Way[] = [
    { sslmode: 'prefer' },
    { sslmode: 'require' },
    { sslmode: 'require', sslnegotiation: 'direct' },
    { sslmode: 'verify-ca', sslrootcert: caFile },
    { sslmode: 'verify-full', sslrootcert: caFile },
    { sslmode: 'verify-full', sslrootcert: caFile, sslnegotiation: 'direct' },
    { sslmode: 'verify-full', sslrootcert: caFile, sslnegotiation: 'direct', channel_binding: 'disable' },
    { sslmode: 'require', channel_binding: 'prefer', gssencmode: 'disable' },
  ]; // prettier-ignore
  return modes.flatMap((mode) =>
    protocols.map(
      ([setting, spoken]) => [{ ...mode, ...setting }, connected(spoken, true)] as const,
    ),
  );
}

const plainWays: readonly (readonly [Way, Outcome])[] = protocols.map(([setting, spoken]) => [
  { sslmode: 'disable', ...setting },
  connected(spoken, false),
]);

async function attempt(login: Login, ways: readonly (readonly [Way, Outcome])[]): Promise<void> {
  const { host, port, user, password, database: dbname, caFile } = login;
  const outcomes: unknown = JSON.parse(
    await python(['libpq_matrix.py'], {
      input: {
        login: { host, port, user, password, dbname },
        observer: { sslmode: 'verify-full', sslrootcert: caFile },
        ways: ways.map(([way]) => way),
      },
    }),
  );
  const expected = ways.map(([way, outcome]) => ({ way, ...outcome }));
  assert.ok(Array.isArray(outcomes));
  assert.deepEqual(
    outcomes.map((outcome: Outcome, index) => ({ way: ways[index]?.[0], ...outcome })),
    expected,
  );
}

describe('libpq connects, works and cancels by every way of TLS and protocol that it has', () => {
  test('PostgreSQL 18 behind, as direct', async () => {
    await using routes = await Routes.start({ version: 18, tls: true });
    const direct = await routes.direct();
    await attempt(direct, secureWays(direct.caFile));
    const through = await routes.indirect('libpq-18');
    await attempt(through, [...secureWays(through.caFile), ...plainWays]);
    const sessions = await routes.recorded('libpq-18');
    assert.equal(sessions.length, 1 + secureWays('').length + plainWays.length);
    for (const { requests } of sessions.slice(1)) {
      const slept = requests.filter(({ text }) => text === 'SELECT pg_sleep(300)');
      assert.deepEqual(slept.map(({ errors }) => errors), [['57014'], ['57014']]); // prettier-ignore
    }
  });

  test('PostgreSQL 15 behind, as PostgreSQL 18 direct', async () => {
    await using routes = await Routes.start({ version: 15, tls: true });
    const through = await routes.indirect('libpq-15');
    await attempt(through, [...secureWays(through.caFile), ...plainWays]);
  });

  test('and fails cleanly where it asks for what a token cannot give', async () => {
    await using routes = await Routes.start({ version: 18, tls: true });
    const through = await routes.indirect('libpq-refused');
    const { server } = routes;
    const unbound = "channel binding required but not supported by server's authentication request";
    const replication =
      'FATAL:  chaperone: replication connections are not supported: their stream cannot be judged\n' +
      'DETAIL:  code: unsupported\n' +
      'HINT:  Connect without the replication parameter.';
    const otherCa = { sslmode: 'verify-full', sslrootcert: `${server.directory}/ca.crt` };
    const ways: [Way, Outcome][] = [
      [{ channel_binding: 'require', sslmode: 'require' }, { refused: unbound }],
      [otherCa, { refused: 'SSL error: certificate verify failed' }],
      [{ sslmode: 'require', replication: 'database' }, { refused: replication }],
    ];
    await attempt(through, ways);
  });
});
