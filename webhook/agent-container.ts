import { isDeepStrictEqual } from 'node:util';
import { isTrustMount } from './refusals.ts';
import { paths, volumeNames } from './names.ts';
import type { Container, EnvVar, SecurityContext, VolumeMount } from './pod.ts';

/** How containers of the agent are changed. */
export interface AgentOptions {
  /** Capabilities that a container may keep, of those that it has; never any with which it could leave the interception. */
  readonly allowedCapabilities: readonly string[];
  /** Variables by which programs find the certificates that they are to trust. */
  readonly trustVariables: readonly EnvVar[];
}

/** What a container of the agent gets; each field is there only where something changes. */
export interface AgentChange {
  /** Variables to be added. */
  readonly env: readonly EnvVar[];
  /** All mounts, as they are to be. */
  readonly volumeMounts: readonly VolumeMount[] | undefined;
  readonly securityContext: SecurityContext | undefined;
  /** What its author might miss. */
  readonly warnings: readonly string[];
}

/** What a runtime gives to a container that asks for nothing (containerd, CRI-O). */
const defaultCapabilities: readonly string[] = [
  'AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'NET_BIND_SERVICE', 'NET_RAW', 'SETFCAP',
  'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT',
]; // prettier-ignore

/**
 * Capabilities that help nobody out of the interception. SETUID would: the sidecar's uid can be read in /proc/net/tcp,
 * and whoever runs under it is let out. NET_RAW writes packets that no rule of output sees.
 */
export const harmlessCapabilities: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
];

/** Returns the variables with which common programs trust the certificates that the sidecar writes. */
export function trustVariables(directory: string): readonly EnvVar[] {
  const bundle = `${directory}/ca.crt`;
  const store = `${directory}/ca.p12`;
  return [
    { name: 'NODE_EXTRA_CA_CERTS', value: bundle },
    { name: 'SSL_CERT_FILE', value: bundle }, // Go, OpenSSL and with it Python and Ruby
    { name: 'REQUESTS_CA_BUNDLE', value: bundle }, // Python's requests, and with it pip
    { name: 'CURL_CA_BUNDLE', value: bundle },
    { name: 'GIT_SSL_CAINFO', value: bundle },
    { name: 'AWS_CA_BUNDLE', value: bundle },
    { name: 'PGSSLROOTCERT', value: bundle },
    {
      name: 'JAVA_TOOL_OPTIONS',
      value: `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit`,
    },
  ];
}

/** Says how a container of the agent has to change; `lostVolumes` are volumes that the pod does not keep. */
export function changeAgent(
  container: Container,
  options: AgentOptions,
  lostVolumes: ReadonlySet<string>,
): AgentChange {
  const warnings: string[] = [];
  return {
    env: missingVariables(container, options.trustVariables, warnings),
    volumeMounts: mounts(container.volumeMounts ?? [], lostVolumes),
    securityContext: hardened(container, options.allowedCapabilities, warnings),
    warnings,
  };
}

function missingVariables(
  { name, env = [], envFrom = [] }: Container,
  wanted: readonly EnvVar[],
  warnings: string[],
): readonly EnvVar[] {
  const present = new Map(env.map((variable) => [variable.name, variable]));
  const kept = wanted
    .map((variable) => [variable, present.get(variable.name)] as const)
    .filter(([variable, own]) => own && own.value !== variable.value)
    .map(([variable]) => variable.name);
  if (kept.length > 0)
    warnings.push(
      `container ${name} keeps its own ${kept.join(', ')}: see that it trusts ${paths.trust}/ca.crt`,
    );
  if (envFrom.length > 0)
    warnings.push(
      `container ${name} has envFrom: what that says of variables for trusted certificates does not count`,
    );
  return wanted.filter((variable) => !present.has(variable.name));
}

function mounts(
  present: readonly VolumeMount[],
  lostVolumes: ReadonlySet<string>,
): readonly VolumeMount[] | undefined {
  const kept = present.filter((mount) => !lostVolumes.has(mount.name));
  const hasTrust = kept.some(isTrustMount);
  if (hasTrust && kept.length === present.length) return undefined;
  const trust = { name: volumeNames.trust, mountPath: paths.trust, readOnly: true };
  return hasTrust ? kept : [...kept, trust];
}

function hardened(
  { name, securityContext = {} }: Container,
  allowed: readonly string[],
  warnings: string[],
): SecurityContext | undefined {
  const { add = [], drop = [] } = securityContext.capabilities ?? {};
  const has = new Set(drop.some(isAll) ? [] : defaultCapabilities);
  for (const capability of drop) has.delete(bare(capability));
  for (const capability of add) has.add(bare(capability));
  const kept = allowed.filter((capability) => has.has(bare(capability)) || has.has('ALL'));
  const lost = add.filter((capability) => !allowed.some((one) => bare(one) === bare(capability)));
  if (lost.length > 0)
    warnings.push(`container ${name} does not get the capabilities ${lost.join(', ')}`);
  if (securityContext.allowPrivilegeEscalation === true)
    warnings.push(`container ${name} does not get allowPrivilegeEscalation`);
  const isSo =
    securityContext.allowPrivilegeEscalation === false &&
    drop.length === 1 &&
    drop[0] === 'ALL' &&
    isDeepStrictEqual(new Set(add), new Set(kept)); // the order is that of the values, which may change
  if (isSo) return undefined;
  return {
    ...securityContext,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'], ...(kept.length > 0 && { add: kept }) },
  };
}

function isAll(capability: string): boolean {
  return bare(capability) === 'ALL';
}

/** Runtimes read `CAP_CHOWN`, `chown` and `CHOWN` alike. */
function bare(capability: string): string {
  return capability.toUpperCase().replace(/^CAP_/, '');
}
