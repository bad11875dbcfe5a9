import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Client, DatabaseError } from 'pg';
import { buildCancelRequest } from '#core/postgres/startup.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { metricsOf } from '../support/metrics.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);

describe('one query, end to end', () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance({ demo: true });
  });
  after(async () => instance[Symbol.asyncDispose]());

  const chaperone = async (...args: string[]): Promise<string> => {
    const { stdout } = await run(process.execPath, [
      join(projectDirectory, 'cli/main.ts'),
      ...args,
      '--data',
      instance.data,
    ]);
    return stdout;
  };
  const psql = async (
    statements: readonly string[],
    env: Record<string, string> = {},
  ): Promise<string> => {
    const { host, port } = instance.instance.backends['shop'] ?? { host: '', port: 0 };
    const args = ['-X', '-h', host, '-p', String(port), '-U', 'analyst', '-d', 'shop', '-At'];
    const { stdout } = await run(
      'psql',
      [...args, ...statements.flatMap((statement) => ['-c', statement])],
      {
        env: { PATH: process.env['PATH'], PGPASSWORD: await instance.token(), ...env },
      },
    );
    return stdout;
  };
  /** The newest session of a principal, once it has ended and is stored. */
  const ended = async (who: string): Promise<string> => {
    const session = await until(`a session of ${who} has ended`, async () => {
      const [newest] = await instance.collector().sessions({ who });
      return newest?.endedAt === null ? undefined : newest;
    });
    return session.id;
  };

  test('the demo tells what the agent did and what was recorded', async () => {
    await until('the story is told', () => instance.output.includes('What to type next'));
    const story = instance.output;
    assert.match(story, /counted 400 orders/);
    assert.match(story, /with \$1 = 150, \$2 = 40/);
    assert.match(story, /27 \| Desk Aqua +\| 208\.50/);
    assert.match(story, /ERROR 42P01: relation "customer" does not exist/);
  });

  test('the demo ends with a refusal, a line that gets one, and a line that says why', async () => {
    const story = instance.output;
    assert.match(story, /asked for social security numbers, and read: .*denied by AuditPolicy\/local\/shop, rule no-ssn/); // prettier-ignore
    const [, why = ''] = /npx chaperone (explain [0-9a-f-]+) /.exec(story) ?? [];
    const explained = chaperone(...why.split(' '));
    await assert.rejects(explained, { code: 5, stdout: /Read on public\.customers +\| stopped by no-ssn/ }); // prettier-ignore
    const [, as = '', sql = ''] = /npx chaperone sql --as (\S+) "(.*)"/.exec(story) ?? [];
    const refused = chaperone('sql', '--as', as, sql);
    await assert.rejects(refused, { code: 1, stderr: /rule no-ssn[^]*\n {10}rule: no-ssn\n[^]*sees why with: chaperone explain/ }); // prettier-ignore
    assert.match(await chaperone('sql', '--as', 'ada', sql), /ssn/);
    assert.match(await chaperone('sql', '--as', as, 'SELECT name FROM customers LIMIT 1'), /SELECT 1/); // prettier-ignore
  });

  test('psql reads through the sidecar, and sessions show prints the rows that were read', async () => {
    assert.equal(
      await psql(['SELECT id, city FROM customers WHERE id < 3 ORDER BY id']),
      '1|Oslo\n2|Nairobi\n',
    );
    const shown = await chaperone('sessions', 'show', await ended('analyst@example.com'));
    assert.match(shown, /SELECT id, city FROM customers WHERE id < 3 ORDER BY id/);
    assert.match(shown, /1 {2}\| Oslo\n.*2 {2}\| Nairobi/);
    assert.match(shown, /ok, SELECT 2, 2 rows/);
  });

  test('psql verifies the sidecar with the CA file', async () => {
    const env = { PGSSLMODE: 'verify-full', PGSSLROOTCERT: instance.instance.sidecar.caFile };
    assert.equal(await psql(['SELECT 1'], env), '1\n');
  });

  test('parameters of a driver are recorded with their statement', async () => {
    const client = await instance.connect({
      password: await instance.token({ sub: 'parameters' }),
    });
    await client.query('SELECT name FROM products WHERE id = $1 OR name = $2', [3, "O'Hara"]);
    await client.end();
    const shown = await chaperone('sessions', 'show', await ended('parameters'));
    assert.match(shown, /WHERE id = \$1 OR name = \$2/);
    assert.match(shown, /\$1 = 3, \$2 = O'Hara/);
  });

  test('verify says that an ended session is complete, and sessions lists it as JSON', async () => {
    const id = await ended('demo-agent@example.com');
    const verdict = await until('its stream is in the ledger', () =>
      chaperone('verify', id).catch(() => undefined),
    );
    assert.match(verdict, /^complete \(\d+ records\)\n$/);
    const listed = JSON.parse(
      await chaperone('sessions', '--json', '--who', 'demo-agent@example.com'),
    ) as { id: string }[];
    assert.equal(listed[0]?.id, id);
  });

  test('sessions are found by a part of a statement, with nothing in it taken as a pattern', async () => {
    const client = await instance.connect({ password: await instance.token({ sub: 'searched' }) });
    await client.query("SELECT '100%_sure\\'");
    await client.end();
    await ended('searched');
    assert.match(await chaperone('sessions', '--text', "'100%_SURE\\'"), /searched/);
    assert.match(await chaperone('sessions', '--text', '100__sure'), /no sessions/);
  });

  test('a session that is open verifies as unbroken, with its own exit code', async () => {
    const client = await instance.connect({
      password: await instance.token({ sub: 'still-open' }),
    });
    await client.query('SELECT 1');
    const session = await until('the open session is stored', async () => {
      const [newest] = await instance.collector().sessions({ who: 'still-open' });
      return newest?.requests === 1 ? newest : undefined;
    });
    await assert.rejects(chaperone('verify', session.id), {
      code: 3,
      stdout: /^unbroken up to \d+, end unknown/,
    });
    await client.end();
  });

  test('a token that does not verify is refused and recorded, and the agent learns nothing', async () => {
    for (const password of [
      'wrong',
      'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.',
      await instance.token({ aud: 'another' }),
    ]) {
      const client = new Client(await instance.login({ password }));
      client.on('error', () => undefined);
      await assert.rejects(client.connect(), (error) => {
        assert.ok(error instanceof DatabaseError);
        assert.equal(error.code, '28P01');
        assert.equal(error.message, 'chaperone: the login was not accepted');
        return true;
      });
    }
  });

  test('chaperone sql runs a statement', async () => {
    assert.match(await chaperone('sql', 'SELECT name FROM products WHERE id = 1'), /Chair Sol/);
  });

  test('a cancelled query ends with the error of PostgreSQL, and the connection goes on', async () => {
    const client = await instance.connect();
    const cancelled = assert.rejects(client.query('SELECT pg_sleep(60)'), { code: '57014' });
    await until('the query runs', () => instance.backendLog().includes('pg_sleep(60)'));
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }; // pg types neither
    const secret = Buffer.alloc(4);
    secret.writeInt32BE(secretKey);
    const { host = '', port = 0 } = instance.instance.backends['shop'] ?? {};
    connect(port, host).end(buildCancelRequest(processID, secret));
    await cancelled;
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
  });

  test('a COPY out is recorded, a COPY in is refused and leaves the connection usable', async () => {
    assert.equal(await psql(['COPY (SELECT 1, 2) TO STDOUT']), '1\t2\n');
    const client = await instance.connect();
    await assert.rejects(client.query('COPY products FROM STDIN'), { code: '57014' });
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
  });

  test('a large answer arrives whole and is recorded', async () => {
    const client = await instance.connect({ password: await instance.token({ sub: 'large' }) });
    const { rows } = await client.query<{ x: string }>(
      "SELECT repeat('x', 1000) AS x FROM generate_series(1, 20000)",
    );
    await client.end();
    assert.equal(rows.length, 20_000);
    const [session] = await instance.collector().sessions({ who: 'large' });
    const id = await ended('large');
    assert.equal(id, session?.id);
    let bytes = 0;
    for await (const frame of instance.collector().frames(id)) bytes += frame.payload.length;
    assert.ok(bytes > 20_000_000, `recorded ${bytes} bytes`);
  });

  test('two supervisors do not share a directory', async () => {
    const args = [
      'dev',
      '--config',
      instance.config,
      '--data',
      instance.data,
      '--port',
      '0',
      '--no-demo',
    ];
    await assert.rejects(run(process.execPath, [join(projectDirectory, 'cli/main.ts'), ...args]), {
      stderr: /another "chaperone dev" runs on/,
    });
  });

  test('the files that hold addresses and the read token are for their owner alone', () => {
    assert.equal(statSync(join(instance.data, 'read-token')).mode & 0o777, 0o600);
    assert.equal(statSync(join(instance.data, 'spool')).mode & 0o777, 0o700);
  });

  test('metrics count operations and name no content', async () => {
    const text = await metricsOf(instance);
    assert.match(text, /chaperone_operations_total\{verdict="Allow"\} [1-9]/);
    assert.doesNotMatch(text, /analyst|products/);
    assert.equal(
      (await fetch(new URL('/readyz', instance.instance.sidecar.metricsUrl))).status,
      200,
    );
  });

  test('Ctrl-C stops everything in order and the next start finds the sessions', async () => {
    const { pids } = instance.instance;
    const before = await ended('demo-agent@example.com');
    await instance.stop('SIGINT');
    for (const pid of Object.values(pids))
      assert.ok(!existsSync(`/proc/${pid}`), `process ${pid} is still there`);
    const again = await startInstance({ data: instance.data });
    try {
      assert.equal((await again.collector().session(before)).id, before);
    } finally {
      await again.stop();
    }
    assert.match(
      readFileSync(join(instance.data, 'log/sidecar.log'), 'utf8'),
      /the spool is shipped/,
    );
  });
});
