import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';
import type { Cluster } from './cluster.ts';

const examples = join(projectDirectory, 'examples/kubernetes');

/** What `examples/kubernetes` makes of a cluster that has the chart: a database and an agent, in two namespaces. */
export interface Shop extends AsyncDisposable {
  /** Of the database, as the credential says it. */
  readonly password: string;
  /** Applies one of the examples, by its name without the ending. */
  apply(example: string): Promise<void>;
  /** kubectl in the agent's namespace. */
  kubectl(...args: readonly string[]): Promise<string>;
  /** Runs a command in the agent's container, or in that of another workload. */
  exec(workload: string, ...command: readonly string[]): Promise<string>;
  /** Asks the database as the agent does, and returns rows without decoration. */
  psql(sql: string, workload?: string): Promise<string>;
  /** The name of the first pod of an application. */
  podOf(app: string): Promise<string>;
}

/** Applies the examples with a policy that observes, and waits for the agent. Everything goes at the end. */
export async function openShop(running: Cluster): Promise<Shop> {
  const password = 'of-the-shop-7c1f';
  const image = await running.workloads();
  const kubectl: Shop['kubectl'] = (...args) => running.kubectl(['--namespace=shop', ...args]);
  const exec: Shop['exec'] = (workload, ...command) => kubectl('exec', workload, '--', ...command);
  const apply: Shop['apply'] = async (example) => {
    const text = readFileSync(join(examples, `${example}.yaml`), 'utf8');
    const input = text.replaceAll('POSTGRES_IMAGE', image).replaceAll('SHOP_PASSWORD', password);
    await running.kubectl(['apply', '--filename=-'], { input });
  };
  const remove = async (): Promise<void> => {
    await running.kubectl(['delete', 'backend', 'shop', '--ignore-not-found']);
    await running.kubectl(['delete', 'namespace', 'shop', 'shop-data', '--ignore-not-found', '--wait=false']); // prettier-ignore
  };
  const shop: Shop = {
    password,
    apply,
    kubectl,
    exec,
    psql: (sql, workload = 'deployment/analyst') =>
      exec(workload, 'psql', '--no-psqlrc', '--tuples-only', '--no-align', '--command', sql),
    podOf: (app) =>
      kubectl('get', 'pods', `--selector=app=${app}`, '--output=jsonpath={.items[0].metadata.name}'), // prettier-ignore
    [Symbol.asyncDispose]: remove,
  };
  try {
    for (const example of ['namespaces', 'database', 'credential', 'backend', 'policy-observe', 'agent']) await apply(example); // prettier-ignore
    await kubectl('wait', '--for=condition=Available', 'deployment/analyst', '--timeout=120s');
  } catch (error) {
    await remove();
    throw error;
  }
  return shop;
}
