import type { Attachment } from '#core/bundle-message.ts';
import { isObject } from '#core/policy/fields.ts';
import { harmlessCapabilities } from '../webhook/agent-container.ts';
import { attachmentOf } from '../webhook/attachment.ts';
import { findOwn } from '../webhook/find-own.ts';
import { injectPod, type InjectOptions } from '../webhook/inject.ts';
import { containerNames } from '../webhook/names.ts';
import type { Mode, PartOptions, Resources } from '../webhook/own-parts.ts';
import type { ServerAddresses } from '../webhook/own-service.ts';
import type { Container, Pod } from '../webhook/pod.ts';

/** Whom sidecars may turn to and trust, as it is now. */
export interface Accepted {
  /** Where they are now. A sidecar may have been given fewer of them: a Service can get more. */
  readonly addresses: ServerAddresses;
  /** Whether a text is PEM of authorities that this installation made, also earlier, and nothing else. */
  readonly isIssued: (server: 'controller' | 'collector', pem: string) => boolean;
}

/** What pods may be made of, for as long as the process runs. */
export interface Offered {
  readonly images: readonly string[];
  /** Of the Kubernetes API server, for whose tokens agents have no use. */
  readonly apiAudiences: readonly string[];
  readonly controllerUrl: string;
  readonly collectorUrl: string;
}

/** What became of a pod's sidecar. */
export type Checked =
  | { readonly kind: 'ours'; readonly attachment: Attachment }
  /** In words for whoever looks into the sidecar's log. */
  | { readonly kind: 'other'; readonly reason: string };

/** What its text says of a pod: of no more than a few kilobytes, however long that is. */
export type Inspected =
  | { readonly kind: 'as-injected'; readonly mode: Mode; readonly trusts: Trusts }
  | { readonly kind: 'other'; readonly reason: string };

/** Whom a sidecar turns to. */
export type Trusts = Readonly<Record<'controller' | 'collector', Trusted>>;

interface Trusted {
  readonly addresses: readonly string[];
  /** PEM. */
  readonly ca: string;
}

/**
 * Says whether a pod's own parts are what the webhook injects, with its own code: a token proves a pod, and anybody who
 * may make pods could have one that sends the token elsewhere. Amounts of resources, the level of the log and the like may
 * differ, as they do after an upgrade; what runs, under which user, where it turns to and whom it trusts may not.
 */
export function checkPod(
  pod: Pod,
  labels: Readonly<Record<string, string>>,
  accepted: Offered & Accepted,
): Checked {
  return checkInspected(inspectPod(pod, accepted), labels, accepted);
}

/** Says the same of a pod whose text was looked at earlier: whom it trusts has to be ours now. */
export function checkInspected(
  inspected: Inspected,
  labels: Readonly<Record<string, string>>,
  { addresses, isIssued }: Accepted,
): Checked {
  if (inspected.kind === 'other') return inspected;
  const { mode, trusts } = inspected;
  for (const server of ['controller', 'collector'] as const) {
    const { ca, addresses: given } = trusts[server];
    if (!isIssued(server, ca))
      return other('the sidecar trusts an authority that is not of this installation');
    if (!given.every((address) => addresses[server].includes(address)))
      return other('the sidecar turns to addresses that are not those of our Services');
  }
  return { kind: 'ours', attachment: attachmentOf(mode, labels) };
}

/** Looks at all of a pod's text. */
export function inspectPod(pod: Pod, offered: Offered): Inspected {
  const own = pod.spec.initContainers ?? [];
  const sidecar = own.find(({ name }) => name === containerNames.sidecar);
  if (!sidecar) return other('the pod has no sidecar of ours');
  const transparent = own.some(({ name }) => name === containerNames.network);
  const mode: Mode = transparent ? 'transparent' : 'explicit';
  const options = optionsFrom(sidecar, own, offered);
  if (typeof options === 'string') return other(options);
  const found = findOwn(pod, options, mode);
  if (found.kind === 'nothing') return other('the pod has no sidecar of ours');
  if (found.kind === 'other')
    return other(`it is not what would be injected: ${found.paths.join(', ')}`);
  const { uid, openPorts } = found.parameters;
  const facts = {
    mode,
    runtimeHandler: undefined,
    kubeApiToken: false,
    apiAudiences: offered.apiAudiences,
    inboundPorts: openPorts,
  };
  const injected = injectPod(pod, facts, options, { draw: () => uid, keeps: true });
  if (injected.kind === 'refused')
    return other(injected.refusals.map(({ message }) => message).join('; '));
  const missing = injected.patch.find(({ path }) => isGuarded(path));
  if (missing) return other(`${missing.path} is not as it would be injected`);
  const { controller, collector } = options;
  return { kind: 'as-injected', mode, trusts: { controller, collector } };
}

function other(reason: string): { readonly kind: 'other'; readonly reason: string } {
  // A slice would keep in memory what it is one of.
  return { kind: 'other', reason: Buffer.from(reason.slice(0, maxReason)).toString() };
}

const maxReason = 1_000;
const maxTrusted = 64 * 1024; // two authorities with a kilobyte each, and some addresses

/** Labels, annotations and variables of the agent's containers are for convenience; the rest keeps the agent in. */
function isGuarded(path: string): boolean {
  return !path.startsWith('/metadata/') && !/^\/spec\/(initC|c)ontainers\/\d+\/env\b/.test(path);
}

/** Takes from the pod what may differ, and returns a reason where what may not does. */
function optionsFrom(
  sidecar: Container,
  own: readonly Container[],
  { images, controllerUrl, collectorUrl }: Offered,
): InjectOptions | string {
  const env = new Map((sidecar.env ?? []).map(({ name, value }) => [name, value ?? '']));
  const given = (name: string): readonly string[] => (env.get(name) ?? '').split(',');
  const image = textOf(sidecar, 'image');
  if (!images.includes(image)) return `the sidecar's image ${image} is none that is served`;
  const controllerCa = env.get('CHAPERONE_CONTROLLER_CA') ?? '';
  const collectorCa = env.get('CHAPERONE_COLLECTOR_CA') ?? '';
  const controllerAddresses = given('CHAPERONE_CONTROLLER_ADDRESSES');
  const collectorAddresses = given('CHAPERONE_COLLECTOR_ADDRESSES');
  const trusted = [controllerCa, collectorCa, ...controllerAddresses, ...collectorAddresses];
  if (trusted.join(',').length > maxTrusted) return 'the sidecar trusts more than it is ever given';
  const parts: PartOptions = {
    image,
    imagePullPolicy: pullPolicyOf(sidecar),
    controller: { url: controllerUrl, addresses: controllerAddresses, ca: controllerCa },
    collector: { url: collectorUrl, addresses: collectorAddresses, ca: collectorCa },
    sidecarResources: resourcesOf(sidecar),
    initResources: resourcesOf(own.find(({ name }) => name === containerNames.network)),
    spoolMaxBytes: Number(env.get('CHAPERONE_SPOOL_MAX_BYTES') ?? 0),
    logLevel: env.get('CHAPERONE_LOG_LEVEL') ?? '',
  };
  // Which of the harmless ones are allowed differs with the release's values.
  return { ...parts, allowedCapabilities: harmlessCapabilities, trustVariables: [] };
}

function fieldOf(container: Container | undefined, field: string): unknown {
  return isObject(container) ? container[field] : undefined; // of fields that the webhook only writes
}

function textOf(container: Container, field: string): string {
  const value = fieldOf(container, field);
  return typeof value === 'string' ? value : '';
}

function pullPolicyOf(container: Container): PartOptions['imagePullPolicy'] {
  const policy = textOf(container, 'imagePullPolicy');
  return policy === 'Always' || policy === 'Never' ? policy : 'IfNotPresent';
}

function resourcesOf(container: Container | undefined): Resources {
  const resources = fieldOf(container, 'resources');
  const amounts = (field: string): Readonly<Record<string, string>> => {
    const given = isObject(resources) ? resources[field] : undefined;
    const entries = Object.entries(isObject(given) ? given : {});
    return Object.fromEntries(entries.map(([name, amount]) => [name, String(amount)]));
  };
  return { requests: amounts('requests'), limits: amounts('limits') };
}
