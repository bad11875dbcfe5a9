import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parse } from 'yaml';
import { ChaperoneError } from '#core/errors.ts';
import { isObject } from '#core/policy/fields.ts';
import { loadKubeConfig } from './cluster/kube-config.ts';
import { readArguments, UsageError, type Command } from './command.ts';

const deadlineMs = 240_000; // images are pulled, and certificates reach pods up to a minute after they were made
const betweenTriesMs = 2_000;

const usage = `usage: chaperone baseline --file FILE

Makes the ClusterAuditPolicy of a file unless there is one of its name, and waits up to ${deadlineMs / 60_000} minutes for the webhook that is to
take it. The chart runs it.`;

/** `chaperone baseline`. */
export const baseline: Command = {
  name: 'baseline',
  summary: 'makes the first policy of a cluster',
  usage,
  forChart: true,
  async run(args) {
    const { values } = readArguments({ args: [...args], options: { file: { type: 'string' } } });
    if (values.file === undefined) throw new UsageError('baseline needs --file');
    const isNew = await createPolicy(readPolicy(values.file));
    process.stdout.write(`the policy ${isNew ? 'was made' : 'is there'}\n`);
    return 0;
  },
};

function readPolicy(file: string): object {
  try {
    const policy: unknown = parse(readFileSync(file, 'utf8'));
    if (isObject(policy)) return policy;
  } catch (cause) {
    throw new ChaperoneError('config-invalid', `${file} cannot be read`, { cause });
  }
  throw new ChaperoneError('config-invalid', `${file} has no policy`);
}

async function createPolicy(body: object): Promise<boolean> {
  const { ApiException, CustomObjectsApi } = await import('@kubernetes/client-node');
  const api = (await loadKubeConfig()).makeApiClient(CustomObjectsApi);
  const kind = { group: 'chaperone.dev', version: 'v1alpha1', plural: 'clusterauditpolicies' };
  for (const end = Date.now() + deadlineMs; ; await delay(betweenTriesMs)) {
    try {
      await api.createClusterCustomObject({ ...kind, body });
      return true;
    } catch (cause) {
      const code = cause instanceof ApiException ? cause.code : undefined;
      if (code === 409) return false;
      const said = cause instanceof ApiException ? String(cause.body) : String(cause);
      if (code === 422 || Date.now() > end)
        throw new ChaperoneError('config-invalid', `the policy is not taken: ${said}`, { cause });
    }
  }
}
