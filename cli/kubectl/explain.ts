import type { CoreV1Api, CustomObjectsApi, KubeConfig } from '@kubernetes/client-node';
import { isSessionPrefix } from '#core/bundle-message.ts';
import { ChaperoneError } from '#core/errors.ts';
import { compilePolicies } from '#core/policy/compile.ts';
import { isObject } from '#core/policy/fields.ts';
import { answer, unreadProtocol, type AskedWho, type Question } from '#core/policy/question.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import { tryParsePod } from '../../webhook/pod.ts';
import { clusterOptions, clusterUsage, unreadable } from '../cluster/installation.ts';
import { loadKubeConfig } from '../cluster/kube-config.ts';
import { readArguments, UsageError, type Command } from '../command.ts';
import { explanationLines } from '../explanation.ts';
import { TextReader } from '../text-reader.ts';
import { deniedCode } from '../verdict-words.ts';
import { effectiveOf, type Effective, type Seen } from './effective.ts';
import { podLines } from './pod-lines.ts';

const usage = `usage: kubectl chaperone explain pod/NAME [-n NS] [OPTIONS]
       kubectl chaperone explain pod/NAME --backend NAME [--as USER[,GROUP…]] [--provider NAME] [-n NS] [OPTIONS] SQL

Says what applies to a pod: how far its label goes, which policies select it and what they come to together, and which
Backends it may use; or whether SQL would be allowed there, and by what. It is read with your own rights, and worked out here
with what sidecars go by; no catalogue is known.

  -n, --namespace NS  of the pod (default: that of the context)
  --backend NAME      at this Backend
  --as USER[,GROUP…]  as whom, with the groups that a token would name (default: the workload itself)
  --provider NAME     whose token it would be, where there are several IdentityProviders
${clusterUsage}

The exit code is 0 for what is allowed and ${deniedCode} for what is denied.`;

const plurals = ['clusterauditpolicies', 'backends', 'identityproviders'] as const;
const group = { group: 'chaperone.dev', version: 'v1alpha1' } as const;

/** `kubectl chaperone explain`. */
export const clusterExplain: Command = {
  name: 'explain',
  summary: 'says what applies to a pod, or what would become of SQL there',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        namespace: { type: 'string', short: 'n' },
        backend: { type: 'string' },
        as: { type: 'string' },
        provider: { type: 'string' },
        ...clusterOptions,
      },
    });
    const [subject = '', text, ...more] = positionals;
    const [, name] = /^pods?\/([a-z0-9][a-z0-9.-]*)$/.exec(subject) ?? [];
    // What an agent was told about its refusal names the session.
    if (isSessionPrefix(subject))
      throw new UsageError(
        `explain takes pod/NAME; which rule refused what, says: kubectl chaperone show ${subject}`,
      );
    if (name === undefined) throw new UsageError('explain needs pod/NAME');
    if (more.length > 0) throw new UsageError('quote the SQL: it has to be one argument');
    const { backend, as, provider } = values;
    if ((text === undefined) !== (backend === undefined))
      throw new UsageError('SQL needs --backend, and --backend needs SQL');
    if (text === undefined && (as !== undefined || provider !== undefined))
      throw new UsageError('--as and --provider are for SQL');
    const config = await loadKubeConfig(values);
    const contexts = config.getContextObject(config.getCurrentContext());
    const namespace = values.namespace ?? contexts?.namespace ?? 'default';
    const effective = effectiveOf(await read(config, namespace, name));
    if (text === undefined || backend === undefined) {
      process.stdout.write(`${podLines(effective).join('\n')}\n`);
      return 0;
    }
    return judge(effective, { backend, text, who: askedWho(as, provider) });
  },
};

function askedWho(as: string | undefined, provider: string | undefined): AskedWho {
  if (as === undefined) {
    if (provider !== undefined) throw new UsageError('--provider needs --as');
    return { kind: 'workload' };
  }
  const [user = '', ...groups] = as.split(',');
  if (user === '') throw new UsageError('--as: want USER or USER,GROUP…');
  return { kind: 'token', user, groups, provider };
}

async function judge(effective: Effective, question: Question): Promise<number> {
  const bundle = bundleOf(effective);
  await using reader = new TextReader(undefined);
  const isTcp = bundle.backends.get(question.backend)?.protocol === 'TCP';
  const understood = isTcp ? unreadProtocol : await reader.read(question);
  const answered = answer({ bundle, compiled: compilePolicies(bundle) }, question, understood);
  if (answered.problem !== undefined) throw new ChaperoneError('config-invalid', answered.problem);
  process.stdout.write(`${explanationLines(question, answered).join('\n')}\n`);
  return answered.explanation.verdict.recorded.action === 'Deny' ? deniedCode : 0;
}

function bundleOf({ bundle, heldBack }: Effective): Bundle {
  if (bundle) return bundle;
  const why = heldBack.flatMap(({ name, problems }) =>
    problems.map(({ path, message }) => `${name}: ${path}: ${message}`),
  );
  throw new ChaperoneError('config-invalid', `resources contradict each other: ${why.join('; ')}`);
}

async function read(config: KubeConfig, namespace: string, name: string): Promise<Seen> {
  const client = await import('@kubernetes/client-node');
  const core: CoreV1Api = config.makeApiClient(client.CoreV1Api);
  const custom: CustomObjectsApi = config.makeApiClient(client.CustomObjectsApi);
  const or = async <T>(what: string, asked: Promise<T>): Promise<T> =>
    asked.catch((cause: unknown) => {
      throw unreadable(what, cause);
    });
  const [object, owner, ofNamespace, ...ofCluster] = await Promise.all([
    or(`pod ${namespace}/${name}`, core.readNamespacedPod({ namespace, name })),
    or(`namespace ${namespace}`, core.readNamespace({ name: namespace })),
    or(`auditpolicies of namespace ${namespace}`, custom.listNamespacedCustomObject({ ...group, namespace, plural: 'auditpolicies' })),
    ...plurals.map(async (plural) => or(plural, custom.listClusterCustomObject({ ...group, plural }))),
  ]); // prettier-ignore
  const pod = tryParsePod(object);
  if (!pod)
    throw new ChaperoneError('config-invalid', `pod ${namespace}/${name} cannot be understood`);
  return {
    namespace,
    pod,
    namespaceLabels: owner.metadata?.labels ?? {},
    objects: [ofNamespace, ...ofCluster].flatMap(itemsOf),
  };
}

function itemsOf(list: unknown): readonly unknown[] {
  return isObject(list) && Array.isArray(list['items']) ? list['items'] : [];
}
