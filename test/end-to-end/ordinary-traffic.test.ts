import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectDirectory } from '../../cli/instance.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { runTool } from '../support/postgres-tools.ts';
import { psql, type PsqlLogin } from '../support/psql.ts';
import { scaled } from '../support/random.ts';
import { startThrough, type Through } from '../support/through.ts';
import { verdictsOf } from '../support/verdicts.ts';

const script = (name: string): string =>
  readFileSync(join(import.meta.dirname, 'ordinary', name), 'utf8');
const contents = script('database.sql');
const described = script('described.sql');

/** The example as an operator would take it over: for this Backend, and for the other schema of the database as well. */
const policy = readFileSync(join(projectDirectory, 'examples/policies/tools.yaml'), 'utf8')
  .replaceAll('backends: [shop]', 'backends: [through]')
  .replaceAll(/( *)- name: public\.\*\n( *access: .*)/g, '$&\n$1- name: test_schema.*\n$2')
  .replaceAll(/( *)- public\.\*/g, '$&\n$1- test_schema.*');

const dumps: readonly (readonly [title: string, args: readonly string[]])[] = [
  ['plain', []],
  ['of the schema alone', ['--schema-only']],
  ['of the data alone', ['--data-only']],
  ['in INSERTs', ['--inserts', '--rows-per-insert=3']],
  ['in INSERTs with columns', ['--column-inserts']],
  ['with DROPs and the database itself', ['--clean', '--if-exists', '--create']],
  ['of some tables', ['--table=people', '--table=meas*', '--serializable-deferrable']],
  ['of one schema', ['--schema=test_schema', '--enable-row-security', '--no-acl', '--no-owner']],
];

const benches: readonly (readonly string[])[] = [
  ['-i', '-q', '--foreign-keys'],
  ...['simple', 'extended', 'prepared'].flatMap((protocol) => [
    ['-M', protocol, '-c', '4', '-t', String(scaled(500))],
    ['-M', protocol, '-c', '4', '-t', String(scaled(500)), '-S'],
    ['-M', protocol, '-c', '2', '-t', String(scaled(50)), '-N', '-C'],
  ]),
  ['-i', '-q', '-I', 'dtGvp', '--partitions=3', '--partition-method=hash'],
  ['-M', 'prepared', '-c', '4', '-t', String(scaled(500))],
];

for (const version of [15, 18] as const) {
  describe(`under a policy that lists what tools do, PostgreSQL ${version}`, () => {
    let server: BackendServer;
    let through: Through;
    let files: string;
    let direct: PsqlLogin;
    let gated: PsqlLogin;
    before(async () => {
      files = mkdtempSync(join(tmpdir(), 'chaperone-ordinary-'));
      server = await startBackendServer({ version });
      through = await startThrough(server, {
        prepare: (config) => writeFileSync(join(config, 'policies.yaml'), policy),
      });
      direct = { ...server, settings: 'sslmode=disable' };
      gated = { ...through, user: 'postgres', settings: 'sslmode=disable' };
      await make('filled');
      const made = await psql({ ...direct, database: 'filled' }, contents, ['-q', '-v', 'ON_ERROR_STOP=1']); // prettier-ignore
      assert.equal(made.code, 0, made.err);
    });
    after(async () => {
      await through[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      rmSync(files, { recursive: true });
    });

    async function make(database: string): Promise<string> {
      const { err, code } = await psql(direct, `CREATE DATABASE ${database} TEMPLATE template0`);
      assert.equal(code, 0, err);
      return database;
    }

    test('psql describes everything as it does direct', async () => {
      const expected = await psql({ ...direct, database: 'filled' }, described);
      assert.ok(expected.out.length > 50_000);
      assert.deepEqual(await psql({ ...gated, database: 'filled' }, described), expected);
    });

    // It dumps no server that is newer than itself.
    if (version === 15) {
      for (const [title, args] of dumps)
        test(`a dump ${title} is the same`, async () => {
          const dump = async (login: PsqlLogin): Promise<string> => {
            const { code, out, err } = await runTool('pg_dump', args, login);
            assert.equal(code, 0, err);
            return normal(out);
          };
          const expected = await dump({ ...direct, database: 'filled' });
          assert.match(expected, /dump complete/);
          assert.equal(await dump({ ...gated, database: 'filled' }), expected);
        });

      test('archives hold the same, written by one process or by two', async () => {
        const direct_ = await archived({ ...direct, database: 'filled' }, ['-Fc']);
        assert.match(direct_, /dump complete/);
        assert.equal(await archived({ ...gated, database: 'filled' }, ['-Fc']), direct_);
        assert.equal(await archived({ ...gated, database: 'filled' }, ['-Fd', '-j', '2']), direct_);
      });
    }

    let archives = 0;
    /** Dumps to an archive, and returns it as a script. */
    async function archived(login: PsqlLogin, args: readonly string[]): Promise<string> {
      const file = join(files, `archive-${(archives += 1)}`);
      const { code, err } = await runTool('pg_dump', [...args, '-f', file], login);
      assert.equal(code, 0, err);
      return normal((await runTool('pg_restore', ['-f', '-', file], login)).out);
    }

    test('pg_restore fills an empty database as it does direct', async () => {
      const archive = join(files, 'archive');
      // An archive of PostgreSQL 15, since that is the one that pg_dump reads here.
      await using older = version === 15 ? undefined : await startBackendServer({ version: 15 });
      const source = { ...(older ?? server), database: older ? 'postgres' : 'filled' };
      if (older) await psql(source, contents, ['-q']);
      const dumped = await runTool('pg_dump', ['-Fc', '-f', archive], source);
      assert.equal(dumped.code, 0, dumped.err);
      for (const name of ['restored_1', 'restored_2']) await make(name);
      const restore = async (login: PsqlLogin): Promise<string> => {
        const database = login === direct ? 'restored_1' : 'restored_2';
        const { err, code } = await runTool('pg_restore', ['-d', database, archive], { ...login, database }); // prettier-ignore
        assert.equal(code, 0, err);
        const { out } = await psql({ ...direct, database }, described);
        return normal(out.replaceAll('restored_2', 'restored_1'));
      };
      const expected = await restore(direct);
      assert.ok(expected.length > 50_000);
      assert.equal(await restore(gated), expected);
    });

    test('pgbench makes its tables and runs every protocol, and leaves the same sums', async () => {
      const bench = async (login: PsqlLogin): Promise<string[]> => {
        const database = await make(login === direct ? 'bench_direct' : 'bench_gated');
        const sums: string[] = [];
        for (const args of benches) {
          const ran = await runTool(
            'pgbench',
            args[0] === '-i' ? args : ['--random-seed=7', ...args],
            {
              ...login,
              database,
            },
          );
          assert.equal(ran.code, 0, ran.err);
          sums.push((await psql({ ...direct, database }, totals, ['-At'])).out);
        }
        return sums;
      };
      const expected = await bench(direct);
      assert.equal(new Set(expected).size > 5, true);
      assert.deepEqual(await bench(gated), expected);
    });

    test('and nothing of all this was denied', async () => {
      const { allowed, denied } = await verdictsOf(through.instance);
      assert.deepEqual(denied, []);
      assert.ok(allowed > 1_000, `${allowed} allowed`);
    });
  });
}

const totals = `
  SELECT count(*), sum(abalance) FROM pgbench_accounts;
  SELECT count(*), sum(bbalance) FROM pgbench_branches;
  SELECT count(*), sum(tbalance) FROM pgbench_tellers;
  SELECT count(*), sum(delta), sum(aid) FROM pgbench_history;
`;

/** Leaves out what is never the same twice: the key of \restrict, and sizes. */
function normal(text: string): string {
  return text
    .replaceAll(/^\\(un)?restrict .*\n/gm, '')
    .replaceAll(/\b\d+ (bytes|kB|MB)\b/g, 'size');
}
