import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isWhole } from '../support/random.ts';
import { verdictsOf } from '../support/verdicts.ts';
import { python } from './python.ts';
import { Routes, type Login } from './routes.ts';

const directory = join(import.meta.dirname, 'sqlalchemy');

/** What became of each test of the suite, by its name. */
async function runSuite(login: Login): Promise<Map<string, string>> {
  const { host, port, user, database } = login;
  const password = encodeURIComponent(login.password);
  const uri = `postgresql+psycopg://${user}:${password}@${host}:${port}/${database}`;
  const reports = mkdtempSync(join(tmpdir(), 'chaperone-suite-'));
  try {
    const report = join(reports, 'report.xml');
    // 1: some tests failed, which the report says by name.
    const args = ['-m', 'pytest', '-q', '--dburi', uri, `--junitxml=${report}`];
    await python(args, { directory, mayExit: [0, 1] });
    return outcomes(readFileSync(report, 'utf8'));
  } finally {
    rmSync(reports, { recursive: true });
  }
}

function outcomes(report: string): Map<string, string> {
  const testcase =
    /<testcase classname="([^"]*)" name="([^"]*)" time="[^"]*"\s*(?:\/>|>\s*<(\w+))/g;
  const found = new Map<string, string>();
  for (const [, classname, name, outcome = 'passed'] of report.matchAll(testcase))
    found.set(`${classname} ${name}`, outcome);
  return found;
}

const settings = { max_prepared_transactions: '10' };
const contents = 'CREATE SCHEMA test_schema';

describe("SQLAlchemy's own suite of dialects, over psycopg", () => {
  const versions = isWhole ? ([15, 18] as const) : ([18] as const);
  for (const version of versions) {
    // The policy lists commands and functions, but no tables: the suite's are made, and most of them used and dropped, in
    // one transaction, so that the catalogue knows no schema of theirs that a grant could name.
    test(`passes under a policy that lists what it does: PostgreSQL ${version}`, async () => {
      await using routes = await Routes.start({ version, settings }, contents, {
        prepare: (config) =>
          copyFileSync(join(directory, 'policy.yaml'), join(config, 'policies.yaml')),
      });
      const direct = await runSuite(await routes.direct());
      assert.deepEqual(await runSuite(await routes.indirect('sqlalchemy')), direct);
      assert.ok(direct.size > 1500);
      const { allowed, denied } = await verdictsOf(routes.through.instance);
      assert.deepEqual(denied, []);
      assert.ok(allowed > 10_000, `${allowed} allowed`);
    });

    test(`passes through as it does direct: PostgreSQL ${version}`, async () => {
      await using routes = await Routes.start({ version, settings }, contents);
      const { result, requests } = await routes.compare('sqlalchemy', runSuite);
      const passed = [...result.values()].filter((outcome) => outcome === 'passed');
      assert.ok(passed.length > 1500, `${passed.length} passed`);
      const bad = [...result].filter(
        ([, outcome]) => outcome !== 'passed' && outcome !== 'skipped',
      );
      assert.deepEqual(bad, []);
      assert.ok(requests.length > 10_000, `${requests.length} requests are recorded`);
    });
  }
});
