import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { SessionSummary } from '#core/session-summary.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';
import { readerOf, type Reader } from '../support/collector-in-cluster.ts';
import { install, type Installed } from '../support/installed.ts';
import { until } from '../support/until.ts';

const examples = join(projectDirectory, 'examples/kubernetes');

/** What a failed command of kubectl said. */
async function failureOf(command: Promise<string>): Promise<string> {
  return command.then(
    (out) => assert.fail(`it succeeded: ${out}`),
    (error: unknown) => (error instanceof Error ? error.message : 'unknown'),
  );
}

describe('the chart with its examples', { skip: withoutCluster, timeout: 900_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let installed: Installed;
  let reader: Reader;
  let agents: Namespace;

  before(async () => {
    running = stack.use(await cluster());
    installed = stack.use(await install(running));
    reader = await readerOf(installed);
    agents = stack.use(await running.namespace('agents'));
    stack.use(await running.namespace('shop'));
    const image = await running.workloads();
    for (const file of readdirSync(examples)
      .filter((name) => name.endsWith('.yaml'))
      .sort()) {
      const text = readFileSync(join(examples, file), 'utf8');
      const input = text.replaceAll(/^(\s*(?:- )?image:) .*postgres.*$/gm, `$1 ${image}`);
      await running.kubectl(['apply', '--filename=-'], { input });
    }
    await agents.waitFor('deployment/analyst', 'condition=Available', 180_000);
  });
  after(() => stack.disposeAsync());

  const psql = (sql: string, workload = 'deployment/analyst'): Promise<string> =>
    agents.kubectl(['exec', workload, '--', 'psql', '--no-psqlrc', '--tuples-only', '--no-align', '--command', sql]); // prettier-ignore
  const sessionWith = (sql: string): Promise<SessionSummary> =>
    until(`a session with ${sql}`, async () => (await reader.sessions({ text: sql }))[0], 60_000);

  test('an agent asks its database with no password, and its manifest says nothing of Chaperone', async () => {
    const manifest = await agents.kubectl(['get', 'deployment/analyst', '--output=yaml', '--show-managed-fields=false']); // prettier-ignore
    assert.doesNotMatch(manifest, /chaperone|password/i);
    assert.equal(await psql("SELECT 6 * 7, 'first question'"), '42|first question\n');
  });

  test('what it asked is recorded with its pod, service account and namespace', async () => {
    await psql("SELECT 1, 'recorded question'");
    const session = await sessionWith('recorded question');
    const pod = await agents.kubectl(['get', 'pods', '--selector=app=analyst', '--output=jsonpath={.items[0].metadata.name}']); // prettier-ignore
    assert.equal(session.namespace, 'agents');
    assert.equal(session.pod, pod);
    assert.equal(session.backend, 'orders');
  });

  test('a DROP is refused in words, and the refusal is recorded', async () => {
    const said = await failureOf(psql('DROP TABLE orders'));
    assert.match(said, /ERROR: .*no-definitions/);
    const session = await sessionWith('DROP TABLE orders');
    assert.equal(session.denied, 1);
    assert.notEqual(await psql('SELECT count(*) FROM orders'), '0\n');
  });
});
