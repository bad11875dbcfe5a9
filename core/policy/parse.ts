import {
  applied,
  FieldReader,
  integer,
  isObject,
  list,
  mapOf,
  object,
  oneOf,
  Problems,
  show,
  text,
  type Read,
} from './fields.ts';
import {
  apiVersion,
  credentialTypes,
  deliveries,
  recordLevels,
  tlsModes,
  type AuditPolicy,
  type Backend,
  type CredentialRef,
  type IdentityProvider,
  type LabelSelector,
  type Metadata,
  type PostgresSettings,
  type Problem,
  type Resource,
  type Upstream,
  type UpstreamTls,
} from './resources.ts';
import { noLimits } from './rules.ts';

/** Either the resource, or everything that is wrong with the document. */
export type Parsed =
  | { readonly resource: Resource; readonly problems?: never }
  | { readonly resource?: never; readonly problems: readonly Problem[] };

const name = text(
  'a name (RFC 1123: lower case, digits, "-" and ".")',
  /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
);
const namespace = text(
  'a namespace (RFC 1123: lower case, digits and "-")',
  /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/,
  63,
);
const labelKey = text(
  'a label key such as "app" or "example.com/app"',
  /^([a-z0-9.-]{1,253}\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
  317,
);
const label = text('a label value', /^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$/, 63);
const anyText = text('a string', /^[^]*$/, 65_536);
const claimPath = text('a path of claims such as "act.sub"', /^[^\s.]+(\.[^\s.]+)*$/);
const host = text('a host name or an address', /^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$/);
const port = integer(1, 65_535);
const roleName = text('a name that PostgreSQL allows', /^[^\0]{1,63}$/);
const certificates = text(
  'certificates in PEM',
  /^(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/,
  65_536,
);
const url = text(
  'an http or https URL without user or fragment',
  (value) => /^https?:\/\/[^\s/?#@]+[^\s#@]*$/.test(value) && URL.canParse(value),
  2_048,
);
const issuer = text(
  'an http or https URL without user, query or fragment', // OpenID Connect Discovery 1.0 section 3
  (value) => /^https?:\/\/[^\s/?#@]+[^\s?#@]*$/.test(value) && URL.canParse(value),
  2_048,
);

const parsers = new Map<string, (document: FieldReader) => Resource | undefined>([
  ['Backend', parseBackend],
  ['IdentityProvider', parseIdentityProvider],
  ['AuditPolicy', (document) => parseAuditPolicy('AuditPolicy', document)],
  ['ClusterAuditPolicy', (document) => parseAuditPolicy('ClusterAuditPolicy', document)],
]);
const laterKinds = ['MaskRule', 'ClusterMaskRule', 'ApprovalRequest', 'ApprovalDecision'];

/** Parses one document of a resource file, and reports all its mistakes at once. */
export function parseResource(document: unknown): Parsed {
  const problems = new Problems();
  const resource = isObject(document)
    ? parseDocument(document, problems)
    : problems.add('', `got ${show(document)}, want a resource`);
  if (resource && problems.found.length === 0) return { resource };
  return { problems: problems.found };
}

function parseDocument(
  document: Readonly<Record<string, unknown>>,
  problems: Problems,
): Resource | undefined {
  const fields = new FieldReader(document, '', problems);
  fields.required('apiVersion', oneOf(apiVersion));
  const kind = fields.required('kind', applied([...parsers.keys()], laterKinds));
  const parse = kind === undefined ? undefined : parsers.get(kind);
  if (!parse) return undefined; // the fields of an unknown kind mean nothing
  const resource = parse(fields);
  fields.refuseUnknown();
  return resource;
}

function metadataOf(namespaced: boolean): Read<Metadata> {
  return object((fields, problems) => {
    const named = fields.required('name', name);
    const labels = fields.optional('labels', mapOf(labelKey, label)) ?? new Map<string, string>();
    fields.optional('annotations', mapOf(labelKey, anyText));
    if (namespaced)
      return {
        name: named ?? '',
        namespace: fields.required('namespace', namespace) ?? '',
        labels,
      };
    fields.optional('namespace', (_, path) => problems.add(path, 'this kind has no namespace'));
    return { name: named ?? '', namespace: undefined, labels };
  });
}

function parseBackend(document: FieldReader): Backend | undefined {
  const metadata = document.required('metadata', metadataOf(false));
  const spec = document.required('spec', object(backendSpec));
  return metadata && spec && { kind: 'Backend', metadata, spec };
}

function backendSpec(fields: FieldReader, problems: Problems): Backend['spec'] {
  const protocol =
    fields.required('protocol', applied(['Postgres', 'TCP'], ['SSH', 'HTTP'])) ?? 'TCP';
  const credential = fields.optional('credential', object(credentialRef));
  if (protocol === 'TCP') {
    for (const field of ['credential', 'postgres']) {
      if (fields.has(field))
        problems.add(fields.path(field), 'a TCP backend has no login that this could be used for');
    }
  }
  const spec = {
    protocol,
    hosts: fields.required('hosts', list(host, 1)) ?? [],
    ports: fields.required('ports', list(port, 1)) ?? [],
    upstream: fields.required('upstream', object(upstream)) ?? noUpstream,
    consumers: fields.required('consumers', list(object(consumer), 1)) ?? [],
    credential,
    postgres: fields.optional('postgres', object(mappings)) ?? noMappings,
  };
  const { mode } = spec.upstream.tls;
  if (protocol === 'TCP' && mode !== 'Disable')
    problems.add(`${fields.path('upstream')}.tls.mode`, 'what passes as TCP is not encrypted here');
  if (credential?.type === 'ClientCertificate' && mode === 'Disable')
    problems.add(`${fields.path('credential')}.type`, 'a client certificate needs TLS');
  return spec;
}

const noUpstream: Upstream = { host: '', port: 0, tls: { mode: 'Disable', ca: undefined } };
const noMappings: PostgresSettings = {
  users: new Map(),
  databases: new Map(),
  applicationName: 'Keep',
  settings: [],
};

function upstream(fields: FieldReader, problems: Problems): Upstream {
  const address = fields.required(
    'address',
    text('"host:port"', /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/),
  );
  const tls = fields.required('tls', object(upstreamTls)) ?? noUpstream.tls;
  fields.unsupported('hostKeys');
  const [, bracketed, plain, digits] = /^(?:\[(.*)\]|(.*)):(\d+)$/.exec(address ?? '') ?? [];
  const value = { host: bracketed ?? plain ?? '', port: Number(digits ?? 0), tls };
  if (address !== undefined && (value.port < 1 || value.port > 65_535)) {
    problems.add(fields.path('address'), `got port ${value.port}, want 1 to 65535`);
  }
  return value;
}

function upstreamTls(fields: FieldReader, problems: Problems): UpstreamTls {
  const mode = fields.required('mode', oneOf(...tlsModes)) ?? 'Disable';
  const ca = fields.optional('ca', certificates);
  if (ca !== undefined && !mode.startsWith('Verify'))
    problems.add(fields.path('ca'), `nothing is verified under ${mode}`);
  return { mode, ca };
}

function mappings(fields: FieldReader, problems: Problems): PostgresSettings {
  fields.unsupported('applicationName', 'settings');
  const pairs = (field: string, from: string, to: string): Map<string, string> => {
    const read = object((pair) => [pair.required(from, roleName), pair.required(to, roleName)]);
    const map = new Map<string, string>();
    for (const [name, upstreamName] of fields.optional(field, list(read)) ?? []) {
      if (name === undefined || upstreamName === undefined) continue;
      if (map.has(name)) problems.add(fields.path(field), `${show(name)} is mapped twice`);
      map.set(name, upstreamName);
    }
    return map;
  };
  return {
    users: pairs('userMapping', 'user', 'upstreamUser'),
    databases: pairs('databaseMapping', 'database', 'upstreamDatabase'),
    applicationName: 'Keep',
    settings: [],
  };
}

function consumer(fields: FieldReader): Backend['spec']['consumers'][number] {
  return {
    namespace: fields.required('namespace', namespace) ?? '',
    serviceAccounts: fields.optional('serviceAccounts', list(name, 1)),
  };
}

function credentialRef(fields: FieldReader): CredentialRef {
  const type = fields.required('type', applied(credentialTypes, ['Token', 'SSHKey']));
  const secretName = fields.required(
    'secretRef',
    object((ref) => ref.required('name', name)),
  );
  return { type: type ?? 'Password', secretName: secretName ?? '' };
}

function parseIdentityProvider(document: FieldReader): IdentityProvider | undefined {
  const metadata = document.required('metadata', metadataOf(false));
  const spec = document.required(
    'spec',
    object((fields) => {
      const spec = {
        issuer: fields.required('issuer', issuer) ?? '',
        audiences: fields.required('audiences', list(text('an audience', /^\S+$/), 1)) ?? [],
        jwksUri: fields.optional('jwksUri', url),
        claims: fields.optional('claims', object(claims)) ?? {
          user: 'sub',
          groups: 'groups',
          onBehalfOf: undefined,
        },
      };
      fields.unsupported('kubernetesUsername');
      return spec;
    }),
  );
  return metadata && spec && { kind: 'IdentityProvider', metadata, spec };
}

function claims(fields: FieldReader): IdentityProvider['spec']['claims'] {
  return {
    user: fields.optional('user', claimPath) ?? 'sub',
    groups: fields.optional('groups', claimPath) ?? 'groups',
    onBehalfOf: fields.optional('onBehalfOf', claimPath),
  };
}

function parseAuditPolicy(
  kind: AuditPolicy['kind'],
  document: FieldReader,
): AuditPolicy | undefined {
  const metadata = document.required('metadata', metadataOf(kind === 'AuditPolicy'));
  const spec = document.required('spec', object(auditPolicySpec));
  return metadata && spec && { kind, metadata, spec };
}

function auditPolicySpec(fields: FieldReader): AuditPolicy['spec'] {
  const mode = fields.optional('mode', oneOf('Observe', 'Enforce')) ?? 'Observe';
  const spec = {
    podSelector: fields.required('podSelector', object(labelSelector)) ?? {
      matchLabels: new Map(),
      matchExpressions: [],
    },
    identity: fields.optional('identity', oneOf('Workload', 'Token')) ?? 'Workload',
    mode,
    defaultAction:
      fields.optional('defaultAction', oneOf('Allow', 'Deny')) ??
      (mode === 'Enforce' ? 'Deny' : 'Allow'),
    record: fields.optional('record', object(record)) ?? {
      requests: 'Full',
      responses: 'Full',
      maxBytes: Infinity,
    },
    delivery: fields.optional('delivery', oneOf(...deliveries)) ?? 'Spool',
    waitMs: fields.optional('onAuditUnavailable', object(auditUnavailable)) ?? defaultWaitMs,
    rules: [],
    limits: noLimits,
    unknownHosts: 'Record',
    inboundPorts: [],
  } as const;
  fields.unsupported('unknownHosts', 'inbound', 'limits', 'rules', 'maxBundleAge');
  return spec;
}

const defaultWaitMs = 10_000;

function record(fields: FieldReader): AuditPolicy['spec']['record'] {
  return {
    requests: fields.optional('requests', oneOf(...recordLevels)) ?? 'Full',
    responses: fields.optional('responses', oneOf(...recordLevels)) ?? 'Full',
    maxBytes: fields.optional('maxBytes', integer(0, 2 ** 50)) ?? Infinity,
  };
}

function auditUnavailable(fields: FieldReader): number {
  return fields.optional('wait', duration) ?? defaultWaitMs;
}

const maxWaitMs = 60_000; // an agent's driver gives up at about that time anyway
const unitMs = new Map([
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
]);

/** GEP-2257: one to four pairs of up to five digits and a unit, such as `1m30s`. Returns milliseconds. */
const duration: Read<number> = (value, path, problems) => {
  const valid = typeof value === 'string' && /^([0-9]{1,5}(h|ms|m|s)){1,4}$/.test(value);
  const pairs = valid ? value.matchAll(/([0-9]+)(h|ms|m|s)/g) : [];
  let ms = 0;
  for (const [, digits, unit] of pairs) ms += Number(digits) * (unitMs.get(unit ?? '') ?? 0);
  if (valid && ms <= maxWaitMs) return ms;
  return problems.add(path, `got ${show(value)}, want a duration from 0s to 60s such as "10s"`);
};

function labelSelector(fields: FieldReader): LabelSelector {
  return {
    matchLabels: fields.optional('matchLabels', mapOf(labelKey, label)) ?? new Map(),
    matchExpressions: fields.optional('matchExpressions', list(object(labelExpression))) ?? [],
  };
}

function labelExpression(
  fields: FieldReader,
  problems: Problems,
): LabelSelector['matchExpressions'][number] {
  const operator =
    fields.required('operator', oneOf('In', 'NotIn', 'Exists', 'DoesNotExist')) ?? 'Exists';
  const values = fields.optional('values', list(label)) ?? [];
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues !== values.length > 0) {
    problems.add(fields.path('values'), needsValues ? 'missing' : `${operator} takes no values`);
  }
  return { key: fields.required('key', labelKey) ?? '', operator, values };
}
