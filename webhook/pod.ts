import { isObject } from '#core/policy/fields.ts';

/** A pod as the API server shows it, as far as the webhook reads it; whatever else it holds stays as it is. */
export interface Pod {
  readonly metadata: PodMetadata;
  readonly spec: PodSpec;
}

export interface PodMetadata {
  readonly name?: string;
  readonly generateName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly securityContext?: { readonly runAsUser?: number; readonly windowsOptions?: object };
  readonly automountServiceAccountToken?: boolean;
  readonly serviceAccountName?: string;
  readonly terminationGracePeriodSeconds?: number;
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly hostUsers?: boolean;
  readonly shareProcessNamespace?: boolean;
  readonly runtimeClassName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly os?: { readonly name?: string };
  readonly hostAliases?: readonly { readonly hostnames?: readonly string[] }[];
  /** Of all containers together. */
  readonly resources?: PodResources;
}

export interface PodResources {
  readonly requests?: Readonly<Record<string, unknown>>;
  readonly limits?: Readonly<Record<string, unknown>>;
}

export interface Container {
  readonly name: string;
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly object[];
  readonly ports?: readonly ContainerPort[];
  readonly volumeMounts?: readonly VolumeMount[];
  readonly securityContext?: SecurityContext;
  readonly resources?: object;
  readonly resizePolicy?: readonly object[];
  readonly imagePullPolicy?: string;
  readonly startupProbe?: Handler;
  readonly readinessProbe?: Handler;
  readonly livenessProbe?: Handler;
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler };
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: object;
}

export interface ContainerPort {
  readonly name?: string;
  readonly containerPort: number;
  readonly protocol?: string;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

export interface SecurityContext {
  readonly runAsUser?: number;
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
}

/** What the kubelet does at a container: a probe, or a step of its lifecycle. */
export interface Handler {
  readonly httpGet?: { readonly port: number | string; readonly host?: string };
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly grpc?: { readonly port: number };
}

export interface Volume {
  readonly name: string;
  readonly hostPath?: object;
  readonly projected?: { readonly sources?: readonly ProjectedSource[] };
}

export interface ProjectedSource {
  readonly serviceAccountToken?: { readonly audience?: string };
}

type Check = (value: unknown) => boolean;

const isString: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => typeof value === 'number';
const isBoolean: Check = (value) => typeof value === 'boolean';
const isPort: Check = (value) => isString(value) || isNumber(value);

/** An object whose named fields, where they are there, look as they should; the first `required` ones have to be. */
function shape(fields: Readonly<Record<string, Check>>, required: readonly string[] = []): Check {
  const checks = Object.entries(fields);
  return (value) =>
    isObject(value) &&
    required.every((name) => value[name] !== undefined && value[name] !== null) &&
    // null is how a client of the API may write that a field is not there.
    checks.every(([name, check]) => (value[name] ?? undefined) === undefined || check(value[name]));
}

const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);

const mapOfStrings: Check = (value) => isObject(value) && Object.values(value).every(isString);

const handler = shape({
  httpGet: shape({ port: isPort, host: isString }, ['port']),
  tcpSocket: shape({ port: isPort, host: isString }, ['port']),
  grpc: shape({ port: isNumber }, ['port']),
});

const container = shape(
  {
    name: isString,
    env: listOf(shape({ name: isString, value: isString, valueFrom: isObject }, ['name'])),
    envFrom: listOf(isObject),
    ports: listOf(shape({ name: isString, containerPort: isNumber }, ['containerPort'])),
    volumeMounts: listOf(
      shape({ name: isString, mountPath: isString, readOnly: isBoolean }, ['name', 'mountPath']),
    ),
    securityContext: shape({
      runAsUser: isNumber,
      privileged: isBoolean,
      allowPrivilegeEscalation: isBoolean,
      capabilities: shape({ add: listOf(isString), drop: listOf(isString) }),
    }),
    resources: isObject,
    resizePolicy: listOf(isObject),
    imagePullPolicy: isString,
    startupProbe: handler,
    readinessProbe: handler,
    livenessProbe: handler,
    lifecycle: shape({ postStart: handler, preStop: handler }),
  },
  ['name'],
);

const volume = shape(
  {
    name: isString,
    hostPath: isObject,
    projected: shape({
      sources: listOf(shape({ serviceAccountToken: shape({ audience: isString }) })),
    }),
  },
  ['name'],
);

const metadata = shape({
  name: isString,
  generateName: isString,
  labels: mapOfStrings,
  annotations: mapOfStrings,
  ownerReferences: listOf(
    shape({ apiVersion: isString, kind: isString, name: isString, uid: isString }, [
      'apiVersion',
      'kind',
      'name',
      'uid',
    ]),
  ),
});

const spec = shape(
  {
    containers: (value) => listOf(container)(value) && Array.isArray(value) && value.length > 0,
    initContainers: listOf(container),
    volumes: listOf(volume),
    securityContext: shape({ runAsUser: isNumber, windowsOptions: isObject }),
    automountServiceAccountToken: isBoolean,
    serviceAccountName: isString,
    terminationGracePeriodSeconds: isNumber,
    hostNetwork: isBoolean,
    hostPID: isBoolean,
    hostIPC: isBoolean,
    hostUsers: isBoolean,
    shareProcessNamespace: isBoolean,
    runtimeClassName: isString,
    nodeSelector: mapOfStrings,
    os: shape({ name: isString }),
    hostAliases: listOf(shape({ hostnames: listOf(isString) })),
    resources: shape({ requests: isObject, limits: isObject }),
  },
  ['containers'],
);

const pod = shape({ metadata, spec }, ['metadata', 'spec']);

/** Returns a value as a pod, or undefined where a field that the webhook reads is not what a pod's is. */
export function tryParsePod(value: unknown): Pod | undefined {
  return pod(value) ? (withoutNulls(value) as Pod) : undefined; // `pod` checks just these fields
}

/** null means "not there" in the API, and undefined is what the rest of the code asks for. What has none is not copied. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(withoutNulls);
    return items.every((item, index) => item === value[index]) ? value : items;
  }
  if (!isObject(value)) return value;
  const entries = Object.entries(value);
  const kept = entries.filter(([, field]) => field !== null).map(([name, field]): [string, unknown] => [name, withoutNulls(field)]); // prettier-ignore
  const isSame = kept.length === entries.length && kept.every(([name, field]) => field === value[name]); // prettier-ignore
  return isSame ? value : Object.fromEntries(kept);
}
