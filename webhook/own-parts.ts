import { sidecarAudiences } from '#core/audiences.ts';
import { nftArguments } from '#core/interception/nft-rules.ts';
import {
  containerNames,
  healthPort,
  kubeTokenPath,
  paths,
  programs,
  volumeNames,
} from './names.ts';
import type { NftParameters } from './nft-arguments.ts';
import type { Container, Handler, Volume } from './pod.ts';

/** Amounts as Kubernetes writes them, by resource: `{cpu: '20m', memory: '96Mi'}`. */
export type Quantities = Readonly<Record<string, string>>;

/** What a container asks for and may use at most. */
export interface Resources {
  readonly requests: Quantities;
  readonly limits: Quantities;
}

/** A server of ours. Its CA stands in the container itself: a ConfigMap of the namespace others could change. */
export interface Endpoint {
  readonly url: string;
  /** Of its Service: names are looked up in files that the pod's author and its agents can write. */
  readonly addresses: readonly string[];
  /** Certificates in PEM: two while the CA is being replaced. */
  readonly ca: string;
}

/** What every injected container is made of, apart from what differs from pod to pod. */
export interface PartOptions {
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly controller: Endpoint;
  readonly collector: Endpoint;
  readonly sidecarResources: Resources;
  /** Of the init container that sets the rules. */
  readonly initResources: Resources;
  readonly spoolMaxBytes: number;
  readonly logLevel: string;
}

/**
 * How an agent's connections reach the sidecar: nft leads all of them there, or the agent dials its ports itself and
 * could pass it by.
 */
export type Mode = 'transparent' | 'explicit';

/** What is put into a pod. */
export interface OwnParts {
  /** Init containers in their order, before all others. */
  readonly containers: readonly Container[];
  readonly volumes: readonly Volume[];
}

/** Not the sidecar's: what proves the interception has to be subject to it. */
const initUid = 65_532;

/** A spool takes at most four fifths of its volume. */
const spoolShare = 0.8;

/** The kubelet gives out no token that lives shorter. */
const tokenSeconds = 600;

/**
 * Makes the containers and volumes of one pod. Defaults of the API server are written out, so that what comes back from
 * it is what was sent.
 */
export function buildOwnParts(
  options: PartOptions,
  mode: Mode,
  parameters: NftParameters,
): OwnParts {
  const sidecar = buildSidecar(options, mode, parameters.uid);
  return {
    containers: mode === 'explicit' ? [sidecar] : [sidecar, buildNetwork(options, parameters)],
    volumes: buildVolumes(options.spoolMaxBytes),
  };
}

/**
 * Sets the rules by nft, whose arguments come last, and proves them. setpriv is started by the runtime itself, never by
 * another program of ours: without new privileges a capability of the file counts only for what was started with it. It
 * hands the capability on to Node, which starts nft.
 */
export const networkProgram: readonly string[] = [
  programs.setpriv,
  '--inh-caps=+net_admin',
  '--ambient-caps=+net_admin',
  programs.node,
  '--disable-sigusr1',
  programs.network,
  programs.nft,
];

function buildNetwork(options: PartOptions, parameters: NftParameters): Container {
  return build(options, {
    name: containerNames.network,
    command: [...networkProgram, ...nftArguments(parameters, programs.rules)],
    resources: options.initResources,
    securityContext: securityContext(initUid, { drop: ['ALL'], add: ['NET_ADMIN'] }),
  });
}

function buildSidecar(options: PartOptions, mode: Mode, uid: number): Container {
  const { collector, controller } = options;
  return build(options, {
    name: containerNames.sidecar,
    command: [
      programs.node,
      '--disable-sigusr1', // a debugger in the sidecar would read its credentials
      '--max-old-space-size=96',
      '--max-semi-space-size=1',
      programs.sidecar,
    ],
    restartPolicy: 'Always',
    env: [
      { name: 'CHAPERONE_MODE', value: mode },
      fromPod('CHAPERONE_POD_NAME', 'metadata.name'),
      fromPod('CHAPERONE_POD_NAMESPACE', 'metadata.namespace'),
      fromPod('CHAPERONE_POD_UID', 'metadata.uid'),
      fromPod('CHAPERONE_SERVICE_ACCOUNT', 'spec.serviceAccountName'),
      { name: 'CHAPERONE_CONTROLLER_URL', value: controller.url },
      { name: 'CHAPERONE_CONTROLLER_ADDRESSES', value: controller.addresses.join(',') },
      { name: 'CHAPERONE_CONTROLLER_CA', value: controller.ca },
      { name: 'CHAPERONE_CONTROLLER_TOKEN_FILE', value: `${paths.tokens}/controller` },
      { name: 'CHAPERONE_COLLECTOR_URL', value: collector.url },
      { name: 'CHAPERONE_COLLECTOR_ADDRESSES', value: collector.addresses.join(',') },
      { name: 'CHAPERONE_COLLECTOR_CA', value: collector.ca },
      { name: 'CHAPERONE_COLLECTOR_TOKEN_FILE', value: `${paths.tokens}/collector` },
      { name: 'CHAPERONE_SPOOL_DIR', value: paths.spool },
      { name: 'CHAPERONE_SPOOL_MAX_BYTES', value: String(options.spoolMaxBytes) },
      { name: 'CHAPERONE_MEMORY_DIR', value: paths.memory },
      { name: 'CHAPERONE_TRUST_DIR', value: paths.trust },
      { name: 'CHAPERONE_METRICS_LISTEN', value: `[::]:${healthPort}` },
      { name: 'CHAPERONE_LOG_LEVEL', value: options.logLevel },
    ],
    ports: [{ name: 'chaperone', containerPort: healthPort, protocol: 'TCP' }],
    ...(mode === 'explicit' ? { startupProbe: untilReady } : {}),
    readinessProbe: probe('/readyz', { periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 3 }),
    livenessProbe: probe('/healthz', { periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 }),
    resources: options.sidecarResources,
    securityContext: securityContext(uid, { drop: ['ALL'] }),
    volumeMounts: [
      { name: volumeNames.tokens, mountPath: paths.tokens, readOnly: true },
      { name: volumeNames.spool, mountPath: paths.spool },
      { name: volumeNames.memory, mountPath: paths.memory },
      { name: volumeNames.trust, mountPath: paths.trust },
    ],
  });
}

/**
 * Ready means that the sidecar knows what it may let pass. Until then no container of the agent starts: in transparent mode
 * the container after the sidecar waits for that, and a probe would only keep that one from starting.
 */
const untilReady = probe('/readyz', { periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 120 });

/** With fields that are written and never read. */
type OwnContainer = Container & Readonly<Record<string, unknown>>;

function build(options: PartOptions, draft: OwnContainer): OwnContainer {
  const noToken = { name: volumeNames.noToken, mountPath: kubeTokenPath, readOnly: true };
  return {
    ...draft,
    image: options.image,
    imagePullPolicy: options.imagePullPolicy,
    // The API server mounts its own token wherever nothing is mounted there.
    volumeMounts: [...(draft.volumeMounts ?? []), noToken],
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'FallbackToLogsOnError',
  };
}

/** Every field is set: what a container leaves open it takes from its pod, whose author is not to be trusted. */
function securityContext(uid: number, capabilities: object): object {
  return {
    runAsUser: uid,
    runAsGroup: initUid,
    runAsNonRoot: true,
    privileged: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities,
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

function probe(
  path: string,
  bounds: { periodSeconds: number; timeoutSeconds: number; failureThreshold: number },
): Handler {
  const httpGet = { path, port: healthPort, scheme: 'HTTP' };
  const written = { httpGet, successThreshold: 1, ...bounds };
  return written; // with fields that are not read
}

function fromPod(name: string, fieldPath: string): { name: string; valueFrom: object } {
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } };
}

type OwnVolume = Volume & Readonly<Record<string, unknown>>;

function buildVolumes(spoolMaxBytes: number): readonly OwnVolume[] {
  const emptyDir = (name: string, fields: object): OwnVolume => ({ name, emptyDir: fields });
  const sources = Object.entries(sidecarAudiences).map(([path, audience]) => ({
    serviceAccountToken: { audience, expirationSeconds: tokenSeconds, path },
  }));
  const projected = { sources, defaultMode: 0o644 };
  return [
    { name: volumeNames.tokens, projected },
    emptyDir(volumeNames.spool, { sizeLimit: String(Math.ceil(spoolMaxBytes / spoolShare)) }),
    emptyDir(volumeNames.memory, { medium: 'Memory', sizeLimit: '1Mi' }),
    emptyDir(volumeNames.trust, { sizeLimit: '16Mi' }),
    emptyDir(volumeNames.noToken, { sizeLimit: '1Mi' }),
  ];
}
