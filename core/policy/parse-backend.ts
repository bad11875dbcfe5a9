import {
  applied,
  keyed,
  object,
  oneOf,
  set,
  text,
  type FieldReader,
  type Problems,
  type Read,
} from './fields.ts';
import { host, metadataOf, name, namespace, port } from './object-names.ts';
import { checkSetting } from './expression.ts';
import {
  credentialTypes,
  tlsModes,
  type Backend,
  type CredentialRef,
  type PostgresSettings,
  type Upstream,
  type UpstreamTls,
} from './resources.ts';

const address = text('"host:port"', /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):[1-9]\d{0,4}$/);
const roleName = text('a name that PostgreSQL allows', /^[^\0]{1,63}$/);
const certificates = text(
  'certificates in PEM',
  /^(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/,
  65_536,
);

const noUpstream: Upstream = { host: '', port: 0, tls: { mode: 'Disable', ca: undefined } };
const noSettings: PostgresSettings = {
  users: new Map(),
  databases: new Map(),
  applicationName: 'Keep',
  settings: [],
};

/** Reads a Backend; undefined where its mistakes leave nothing to go on. */
export function parseBackend(document: FieldReader): Backend | undefined {
  const metadata = document.required('metadata', metadataOf(false));
  const spec = document.required('spec', object(backendSpec));
  return metadata && spec && { kind: 'Backend', metadata, spec };
}

function backendSpec(fields: FieldReader, problems: Problems): Backend['spec'] {
  const protocol = fields.required('protocol', applied(['Postgres', 'TCP'], ['SSH', 'HTTP']));
  const credential = fields.optional('credential', object(credentialRef));
  if (protocol === 'TCP') {
    for (const field of ['credential', 'postgres']) {
      if (fields.has(field))
        problems.add(fields.path(field), 'a TCP backend has no login that this could be used for');
    }
  }
  const spec = {
    protocol: protocol ?? 'TCP',
    hosts: fields.required('hosts', set(host, 1)) ?? [],
    ports: fields.required('ports', set(port, 1)) ?? [],
    upstream: fields.required('upstream', object(upstream)) ?? noUpstream,
    consumers: fields.required('consumers', keyed('namespace', object(consumer), 1)) ?? [],
    credential,
    postgres: fields.optional('postgres', object(postgresSettings)) ?? noSettings,
  };
  const { mode } = spec.upstream.tls;
  if (protocol === 'TCP' && mode !== 'Disable')
    problems.add(`${fields.path('upstream')}.tls.mode`, 'what passes as TCP is not encrypted here');
  if (credential?.type === 'ClientCertificate' && mode === 'Disable')
    problems.add(`${fields.path('credential')}.type`, 'a client certificate needs TLS');
  return spec;
}

function upstream(fields: FieldReader, problems: Problems): Upstream {
  const written = fields.required('address', address);
  const tls = fields.required('tls', object(upstreamTls)) ?? noUpstream.tls;
  fields.unsupported('hostKeys');
  const [, bracketed, plain, digits] = /^(?:\[(.*)\]|(.*)):(\d+)$/.exec(written ?? '') ?? [];
  const value = { host: bracketed ?? plain ?? '', port: Number(digits ?? 0), tls };
  if (written !== undefined && (value.port < 1 || value.port > 65_535)) {
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

function consumer(fields: FieldReader): Backend['spec']['consumers'][number] {
  return {
    namespace: fields.required('namespace', namespace) ?? '',
    serviceAccounts: fields.optional('serviceAccounts', set(name, 1)),
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

function postgresSettings(fields: FieldReader): PostgresSettings {
  const pairs = (field: string, from: string, to: string): ReadonlyMap<string, string> => {
    const read = object((pair) => [pair.required(from, roleName), pair.required(to, roleName)]);
    const map = new Map<string, string>();
    for (const [mapped, upstreamName] of fields.optional(field, keyed(from, read)) ?? []) {
      if (mapped !== undefined && upstreamName !== undefined) map.set(mapped, upstreamName);
    }
    return map;
  };
  return {
    users: pairs('userMapping', 'user', 'upstreamUser'),
    databases: pairs('databaseMapping', 'database', 'upstreamDatabase'),
    applicationName: fields.optional('applicationName', oneOf('Keep', 'Session')) ?? 'Keep',
    settings: fields.optional('settings', keyed('name', object(setting), 0, 16)) ?? [],
  };
}

function setting(fields: FieldReader): PostgresSettings['settings'][number] {
  return {
    name: fields.required('name', settingName) ?? '',
    value: fields.required('value', settingValue) ?? '',
  };
}

/**
 * Settings that the gateway makes itself or depends on. At a login the first four are none but say who logs in, where and
 * how; the next three say for whom PostgreSQL takes the session; with the last three, texts would be written or read in
 * another way than they are judged.
 */
const ownSettings: readonly string[] = [
  'user',
  'database',
  'replication',
  'options',
  'application_name',
  'role',
  'session_authorization',
  'client_encoding',
  'standard_conforming_strings',
  'backslash_quote',
];

const settingSyntax = text(
  'a setting of PostgreSQL in lower case, such as "statement_timeout" or "app.tenant"',
  /^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$/,
  127,
);

const settingName: Read<string> = (value, path, problems) => {
  const read = settingSyntax(value, path, problems);
  // `_pq_.` names options of the protocol.
  if (read === undefined || (!ownSettings.includes(read) && !read.startsWith('_pq_.'))) return read;
  const message =
    read === 'application_name'
      ? 'application_name is set by applicationName'
      : `${read} is the gateway’s own and cannot be set`;
  return problems.add(path, message);
};

const expression = text('an expression in CEL', /^[^]+$/, 2_048);

const settingValue: Read<string> = (value, path, problems) => {
  const read = expression(value, path, problems);
  const mistake = read === undefined ? undefined : checkSetting(read);
  return mistake === undefined ? read : problems.add(path, mistake);
};
