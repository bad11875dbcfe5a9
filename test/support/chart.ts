import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { projectDirectory } from '../../cli/instance.ts';
import { helm, kubernetesVersion } from '../cluster/places.ts';

export const chartDirectory = join(projectDirectory, 'charts/chaperone');

/** As much of an object of Kubernetes as tests read; what lies deeper they take apart themselves. */
export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** The values with which it can be installed without anything that is there before. */
export const trialValues: readonly string[] = ['postgres.bundled.enabled=true'];

/** Runs Helm: the one that was compiled with the cluster, or that of the machine. Returns what it wrote, or what it said. */
export function runHelm(
  args: readonly string[],
): Promise<{ readonly ok: boolean; readonly out: string; readonly err: string }> {
  const program = existsSync(helm) ? helm : 'helm';
  return new Promise((resolve) => {
    const options = { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, options, (error, out, err) => {
      resolve({ ok: error === null, out, err: error && err === '' ? error.message : err });
    });
  });
}

/** What the chart makes of values as `--set` takes them, in a namespace; fails with what Helm says. */
export async function renderChart(
  namespace: string,
  values: readonly string[] = trialValues,
): Promise<readonly Rendered[]> {
  const { ok, out, err } = await runHelm(templateArguments(namespace, values));
  if (!ok) throw new Error(err);
  return parseAllDocuments(out)
    .map((document) => document.toJS() as Rendered | null) // what is no object has no kind, and fails where it is read
    .filter((object) => object !== null);
}

/** Whether an object is outside of a test's own namespaces. */
export function isShared({ metadata }: Rendered): boolean {
  return metadata.namespace === undefined || metadata.namespace === 'default';
}

/** Accounts and what they may do, with a prefix to the names of those that are in no namespace of a test's own. */
export function accountsIn(objects: readonly Rendered[], prefix: string): readonly Rendered[] {
  const ofAccess = ['ServiceAccount', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'];
  return objects
    .filter(({ kind }) => ofAccess.includes(kind))
    .map((object) => {
      const { kind, metadata } = object;
      const { labels: _, ...rest } = metadata; // of aggregation: nobody else is to get these rights
      if (!isShared(object)) return { ...object, metadata: rest };
      const renamed = { ...object, metadata: { ...rest, name: `${prefix}${metadata.name}` } };
      if (kind === 'ClusterRole' || kind === 'Role') return renamed;
      const roleRef = object['roleRef'] as { readonly name: string };
      return { ...renamed, roleRef: { ...roleRef, name: `${prefix}${roleRef.name}` } };
    });
}

/** What Helm says against values; fails where it takes them. */
export async function refusalOf(values: readonly string[]): Promise<string> {
  const { ok, err } = await runHelm(templateArguments('chaperone-system', values));
  if (ok) throw new Error(`${values.join(' ')}: taken`);
  return err;
}

function templateArguments(namespace: string, values: readonly string[]): readonly string[] {
  return [
    'template',
    'chaperone',
    chartDirectory,
    `--namespace=${namespace}`,
    `--kube-version=${kubernetesVersion}`, // one that was compiled without a version takes itself for an old one
    ...values.map((value) => `--set=${value}`),
  ];
}
