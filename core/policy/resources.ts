import type { Limits, Rule } from './rules.ts';

/** Resources of `chaperone.dev/v1alpha1`, as far as this version applies them: checked, with defaults filled in. */

/** The only version of resources that is read. */
export const apiVersion = 'chaperone.dev/v1alpha1';

/** What a resource is called; names are those of Kubernetes. */
export interface Metadata {
  readonly name: string;
  /** Of namespaced kinds alone. */
  readonly namespace: string | undefined;
  readonly labels: ReadonlyMap<string, string>;
}

/** What an agent and a Backend speak: it decides how much of it is understood. */
export type Protocol = 'Postgres' | 'TCP';

/** Something that agents use through the sidecar. */
export interface Backend {
  readonly kind: 'Backend';
  readonly metadata: Metadata;
  readonly spec: {
    readonly protocol: Protocol;
    /** Names by which agents know it. */
    readonly hosts: readonly string[];
    readonly ports: readonly number[];
    readonly upstream: Upstream;
    /** Who may use it at all. Without `serviceAccounts`: all of the namespace. */
    readonly consumers: readonly {
      readonly namespace: string;
      readonly serviceAccounts: readonly string[] | undefined;
    }[];
    /** The login that Chaperone holds for it. Absent: the agent's own is relayed, and TCP has none. */
    readonly credential: CredentialRef | undefined;
    readonly postgres: PostgresSettings;
  };
}

/** Where a backend really is, and how it is spoken to. */
export interface Upstream {
  readonly host: string;
  readonly port: number;
  readonly tls: UpstreamTls;
}

/**
 * `Require` encrypts and believes any certificate; `VerifyCA` wants one from a trusted CA; `VerifyFull` wants the
 * upstream's host name in it as well. There is no mode that falls back to plain text.
 */
export const tlsModes = ['Disable', 'Require', 'VerifyCA', 'VerifyFull'] as const;

/** How the connection to an upstream is encrypted. */
export interface UpstreamTls {
  readonly mode: (typeof tlsModes)[number];
  /** Certificates of the CAs to trust, PEM. Undefined: those that Node brings. */
  readonly ca: string | undefined;
}

/** Kinds of login that the sidecar can make itself. */
export const credentialTypes = ['Password', 'ClientCertificate'] as const;

/** Says which login to use; the login itself is nowhere in resources. */
export interface CredentialRef {
  readonly type: (typeof credentialTypes)[number];
  /** Name of the Secret that holds it. */
  readonly secretName: string;
}

/** Names that an upstream knows under others. */
export interface NameMappings {
  /** Upstream users by the user that an agent names; others become the credential's. */
  readonly users: ReadonlyMap<string, string>;
  /** Upstream databases by the database that an agent names; others stay as they are. */
  readonly databases: ReadonlyMap<string, string>;
}

/** How what an agent names at its login becomes what the backend is told. */
export interface PostgresSettings extends NameMappings {
  /** The agent's own `application_name`, or the name of the session in its place. */
  readonly applicationName: 'Keep' | 'Session';
  /** Settings of each session there, by lower-case names of which each stands once; the agent cannot change them. */
  readonly settings: readonly {
    readonly name: string;
    /** CEL over the principal, which gives a string. */
    readonly value: string;
  }[];
}

/** An OIDC issuer whose tokens are taken, and what their claims mean. */
export interface IdentityProvider {
  readonly kind: 'IdentityProvider';
  readonly metadata: Metadata;
  readonly spec: {
    readonly issuer: string;
    readonly audiences: readonly string[];
    /** Absent: found by discovery. */
    readonly jwksUri: string | undefined;
    /** Dotted paths of claims. */
    readonly claims: {
      readonly user: string;
      readonly groups: string;
      readonly onBehalfOf: string | undefined;
    };
  };
}

/** A label selector as Kubernetes means it; an empty one selects everything. */
export interface LabelSelector {
  readonly matchLabels: ReadonlyMap<string, string>;
  readonly matchExpressions: readonly {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values: readonly string[];
  }[];
}

/** How much of an operation is recorded; from least to most. */
export const recordLevels = ['None', 'Digest', 'Full'] as const;
/** One of `recordLevels`. */
export type RecordLevel = (typeof recordLevels)[number];

/** Where a record has to be before what it is about goes up; from least to most strict. */
export const deliveries = ['Spool', 'Acknowledged'] as const;
/** One of `deliveries`. */
export type Delivery = (typeof deliveries)[number];

/** What is decided and recorded for the pods that it selects. */
export interface AuditPolicy {
  readonly kind: 'AuditPolicy' | 'ClusterAuditPolicy';
  readonly metadata: Metadata;
  readonly spec: {
    readonly podSelector: LabelSelector;
    readonly identity: 'Workload' | 'Token';
    readonly mode: 'Observe' | 'Enforce';
    /** Settled: Allow under Observe and Deny under Enforce where it was not set. */
    readonly defaultAction: 'Allow' | 'Deny';
    /** What is done with what no Backend names. Settled: Record under Observe and Deny under Enforce where it was not set. */
    readonly unknownHosts: 'Record' | 'Deny';
    /** TCP ports of the pod at which others reach the agent. */
    readonly inboundPorts: readonly number[];
    readonly record: {
      readonly requests: RecordLevel;
      readonly responses: RecordLevel;
      /** Of one answer, in bytes; Infinity where it was not set. */
      readonly maxBytes: number;
    };
    /** In the sidecar's spool, or committed by the collector. */
    readonly delivery: Delivery;
    /** How long an operation waits for a spool that cannot be written, in milliseconds. */
    readonly waitMs: number;
    readonly limits: Limits;
    /** At most 64, each with a name of its own. */
    readonly rules: readonly Rule[];
  };
}

/** A document of the watched files. */
export type Resource = Backend | IdentityProvider | AuditPolicy;

/** A mistake in one document, at a path such as `spec.record.maxBytes`. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** Names a resource as people do: `AuditPolicy/local/shop`, `Backend/shop`. */
export function nameOf({ kind, metadata }: Resource): string {
  const { name, namespace } = metadata;
  return namespace === undefined ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
}
