import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { helm } from '../cluster/places.ts';
import { chartDirectory } from './chart.ts';
import type { Cluster, Namespace } from './cluster.ts';

/** Runs a program to its end, and gives back what it wrote. */
const execute = promisify(execFile);

/** What tests bind to the role of auditors; no namespace takes it with it. */
export const testAuditor = 'chaperone-test-auditor';
const releaseNamespace = 'chaperone-system';
const helmMs = 300_000;
const untilReady = ['--wait', '--timeout=4m'];

/** The product in a cluster, from its chart. */
export interface Installed extends AsyncDisposable {
  /** Where its parts run. */
  readonly system: Namespace;
  /** Upgrades it with other values (`--set=…`) than it has, and waits until all of it is ready. */
  upgrade(changes: readonly string[]): Promise<void>;
}

/** Values for a test cluster: images that are there already, and a database for trials. */
async function testValues(running: Cluster): Promise<readonly string[]> {
  const [image, workloads] = await Promise.all([running.image(), running.workloads()]);
  const [, repository = '', tag = ''] = /^(.*):([^:/]+)$/.exec(image) ?? [];
  const values = {
    'image.repository': repository,
    'image.tag': tag,
    'image.pullPolicy': 'IfNotPresent',
    'postgres.bundled.enabled': 'true',
    'postgres.bundled.image': workloads,
    'postgres.bundled.storage.ephemeral': 'true',
  };
  return Object.entries(values).map(([name, value]) => `--set=${name}=${value}`);
}

/** Installs the chart, and waits until all of it is ready. Removed at the end, with all that it brought. */
export async function install(running: Cluster, more: readonly string[] = []): Promise<Installed> {
  const system = await running.namespace(releaseNamespace);
  const runHelm = async (args: readonly string[]): Promise<string> => {
    const program = existsSync(helm) ? helm : 'helm';
    const where = [`--namespace=${releaseNamespace}`, `--kubeconfig=${running.kubeconfig}`];
    const { stdout } = await execute(program, [...args, ...where], { timeout: helmMs });
    return stdout;
  };
  const values = await testValues(running);
  await runHelm(['install', 'chaperone', chartDirectory, ...untilReady, ...values, ...more]);
  return {
    system,
    upgrade: async (changes) => {
      await runHelm([
        'upgrade',
        'chaperone',
        chartDirectory,
        '--reset-then-reuse-values',
        ...untilReady,
        ...changes,
      ]);
    },
    [Symbol.asyncDispose]: async () => {
      await running.kubectl(['delete', 'clusterrolebinding', testAuditor, '--ignore-not-found']);
      await runHelm(['uninstall', 'chaperone', '--wait', '--ignore-not-found']);
      await system[Symbol.asyncDispose]();
    },
  };
}
