import type { Attachment } from '#core/bundle-message.ts';
import type { Limits } from '#core/policy/rules.ts';
import type { EffectivePolicy } from '#core/policy/combine.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import { nameOf } from '#core/policy/resources.ts';
import { printable, table } from '../terminal.ts';
import type { Effective } from './effective.ts';

const attachments: Readonly<Record<Attachment, string>> = {
  Namespace: 'Namespace: nothing on the pod opts it out, and it gets the logins of Backends',
  Pod: 'Pod: its author can leave the label out; it logs in to Backends as itself',
  Explicit: 'Explicit: what is dialled through the sidecar is recorded; the agent can dial past it',
};

/** Says for people what applies to a pod. */
export function podLines(effective: Effective): readonly string[] {
  const { workload, attachment, bundle, heldBack } = effective;
  const { namespace, pod, serviceAccount } = workload;
  return [
    `pod         ${printable(`${namespace}/${pod}`)}, service account ${printable(serviceAccount)}`,
    `sidecar     ${sidecarText(effective)}`,
    `attachment  ${attachments[attachment]}`,
    ...(bundle ? bundleLines(bundle.policy, [...bundle.backends.values()]) : []),
    ...(heldBack.length > 0 ? ['', 'Until this is mended, what was in force before stays so for the pod; in the place of its namespace’s own policies stands one that refuses:'] : []),
    ...heldBack.flatMap(({ name, problems }) =>
      problems.map(({ path, message }) => printable(`  ${name}: ${path === '' ? '' : `${path}: `}${message}`)),
    ),
  ]; // prettier-ignore
}

function sidecarText({ hasSidecar, isSelected }: Effective): string {
  if (hasSidecar && isSelected) return 'there';
  if (hasSidecar) return 'there, though no label asks for one: a new pod would have none';
  return isSelected
    ? 'missing: the pod is from before the label; start it anew'
    : 'none: no label asks for one, and nothing below applies';
}

function bundleLines(
  policy: EffectivePolicy | undefined,
  backends: readonly ResolvedBackend[],
): readonly string[] {
  const rows = backends.map(({ name, protocol, hosts, ports, upstream, credential }) => [
    name,
    protocol,
    `${hosts.join(', ')} at ${ports.join(', ')}`,
    `${upstream.host}:${upstream.port}, TLS ${upstream.tls.mode}`,
    credential ? `Secret ${credential.secretName}` : protocol === 'TCP' ? 'none' : "the agent's own",
  ]); // prettier-ignore
  const names = ['backend', 'protocol', 'known as', 'upstream', 'login'];
  return [
    ...(policy ? policyLines(policy) : ['policies    none selects it: everything is refused']),
    '',
    ...(rows.length > 0 ? table(names, rows) : ['It may use no Backend.']),
  ];
}

function policyLines(policy: EffectivePolicy): readonly string[] {
  const { policies, record, delivery, unknownHosts, identity, limits, inboundPorts } = policy;
  const { requests, responses } = record;
  const shown = policies.map(
    (each) =>
      `${nameOf(each)}: ${each.spec.mode}, default ${each.spec.defaultAction}, ${count(each.spec.rules.length, 'rule')}`,
  );
  const set = limitTexts(limits);
  return [
    ...shown.map((text, index) => `${index === 0 ? 'policies  ' : '          '}  ${printable(text)}`),
    `together    identity ${identity}; records of requests ${requests}, of responses ${responses}; delivery ${delivery}; unknown hosts ${unknownHosts}`,
    ...(set.length > 0 ? [`limits      ${set.join(', ')}`] : []),
    ...(inboundPorts.length > 0 ? [`inbound     ports ${inboundPorts.join(', ')}`] : []),
  ]; // prettier-ignore
}

function limitTexts(limits: Limits): readonly string[] {
  return Object.entries(limits).flatMap(([name, value]: [string, number]) =>
    Number.isFinite(value) ? [`${name} ${value}`] : [],
  );
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
