import { ChaperoneError } from '#core/errors.ts';
import type { ResourceProblem } from '#core/control.ts';
import type { Workload } from '#core/identity/principal.ts';
import { compilePolicies } from '#core/policy/compile.ts';
import type { Asked } from '#core/policy/question.ts';
import { resolve } from '#core/policy/resolve.ts';
import type { CredentialRef, Resource } from '#core/policy/resources.ts';
import { parseResourceFiles, readResourceFiles } from '../sidecar/resource-files.ts';
import { UsageError } from './command.ts';
import { printable } from './terminal.ts';

/** Options that say for which pod the policies of a directory are read: that of `npm start` where nothing is said. */
export const podOptions = {
  namespace: { type: 'string' },
  'service-account': { type: 'string' },
  labels: { type: 'string' },
} as const;

export const podUsage = `  --namespace NS, --service-account SA, --labels KEY=VALUE,…
                  the pod that the policies of a directory are read for (default: that of "npm start")`;

export interface PodValues {
  readonly namespace?: string | undefined;
  readonly 'service-account'?: string | undefined;
  readonly labels?: string | undefined;
}

/** @throws UsageError. */
export function workloadOf(values: PodValues): Workload {
  const {
    namespace = 'local',
    'service-account': serviceAccount = 'local',
    labels: written = 'app=local',
  } = values;
  const pairs = written === '' ? [] : written.split(',').map((pair) => pair.split('='));
  const labels = new Map<string, string>();
  for (const [key = '', value, ...more] of pairs) {
    if (key === '' || value === undefined || more.length > 0)
      throw new UsageError(`--labels: got "${written}", want KEY=VALUE,…`);
    labels.set(key, value);
  }
  return { pod: serviceAccount, namespace, serviceAccount, labels };
}

/** Reads policies as a sidecar would, but for credentials, of which it has none. @throws ChaperoneError with every mistake. */
export async function readPolicies(directory: string, workload: Workload): Promise<Asked> {
  const { files, problems: unread } = await readResourceFiles(directory);
  const { resources: located, problems } = parseResourceFiles(files);
  refuse([...unread, ...problems]);
  const resources = located.map(({ resource }) => resource);
  const { bundle, problems: conflicts = [] } = resolve(
    resources,
    workload,
    credentialsOf(resources),
  );
  refuse(conflicts.flatMap((conflict) => located[conflict.resource]?.locate(conflict) ?? []));
  if (!bundle) throw new TypeError('resources without conflicts make a bundle');
  return { bundle, compiled: compilePolicies(bundle) };
}

/** What Backends ask for, taken to be there. */
export function credentialsOf(
  resources: readonly Resource[],
): ReadonlyMap<string, CredentialRef['type']> {
  const refs = resources.flatMap((resource) =>
    resource.kind === 'Backend' ? (resource.spec.credential ?? []) : [],
  );
  return new Map(refs.map(({ secretName, type }) => [secretName, type]));
}

function refuse(problems: readonly ResourceProblem[]): void {
  if (problems.length === 0) return;
  const lines = problems.map(({ file, line, path, message }) =>
    printable(`${file}:${line}: ${path === '' ? '' : `${path}: `}${message}`),
  );
  throw new ChaperoneError(
    'config-invalid',
    ['the policies cannot be read:', ...lines].join('\n  '),
  );
}
