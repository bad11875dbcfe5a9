import type { Fields } from './schema.ts';

const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const selector = {
  matchLabels: { app: 'agent' },
  matchExpressions: [
    { key: 'tier', operator: 'In', values: ['web', 'batch'] },
    { key: 'example.com/old', operator: 'DoesNotExist' },
  ],
};

const backends = [
  {
    protocol: 'Postgres',
    hosts: ['shop-db', '10.0.0.1'],
    ports: [5432, 5433],
    upstream: { address: 'db.example.com:5432', tls: { mode: 'VerifyFull', ca: pem } },
    consumers: [
      { namespace: 'shop', serviceAccounts: ['agent', 'second'] },
      { namespace: 'other' },
    ],
    credential: { type: 'ClientCertificate', secretRef: { name: 'login' } },
    postgres: {
      userMapping: [{ user: 'analyst', upstreamUser: 'readonly' }],
      databaseMapping: [{ database: 'shop', upstreamDatabase: 'shop_eu' }],
      applicationName: 'Session',
      settings: [
        { name: 'statement_timeout', value: '"30s"' },
        { name: 'app.tenant', value: 'principal.user' },
      ],
    },
  },
  {
    protocol: 'Postgres',
    hosts: ['archive-db'],
    ports: [5432],
    upstream: { address: 'archive-db:5432', tls: { mode: 'Require' } },
    consumers: [{ namespace: 'shop' }],
    postgres: {},
  },
  {
    protocol: 'TCP',
    hosts: ['queue'],
    ports: [1],
    upstream: { address: '[::1]:65535', tls: { mode: 'Disable' } },
    consumers: [{ namespace: 'shop' }],
  },
];

const providers = [
  {
    issuer: 'https://issuer.example.com/realm',
    audiences: ['chaperone', 'second'],
    jwksUri: 'https://issuer.example.com/keys?p=login',
    claims: { user: 'email', groups: 'realm.roles', onBehalfOf: 'act.sub' },
  },
  { issuer: 'http://issuer', audiences: ['chaperone'] },
];

const rules = [
  {
    name: 'by-name',
    backends: ['shop', 'archive.eu'],
    subjects: [
      { provider: 'idp', users: ['ada', 'grace'], groups: ['analysts'] },
      { serviceAccounts: [{ namespace: 'shop', name: 'ci' }] },
    ],
    postgres: {
      commands: ['SELECT', 'CREATE TABLE', '*'],
      tables: [{ name: 'public.*', access: ['Read', 'Write'] }, { name: '"Odd ""name"""' }],
      functions: ['pg_sleep', 'public."F"'],
      readOnly: true,
    },
    when: 'statement.hasWhere',
    action: 'RequireApproval',
    message: 'Ask the DBAs.\nThey answer.',
    approval: {
      groups: ['dba'],
      count: 2,
      timeout: '1h30m',
      scope: 'Session',
      inTransaction: 'Deny',
    },
  },
  { name: 'by-label', backendSelector: selector, anySubject: true, action: 'Deny' },
  { name: 'by-host', hosts: ['db.example.com'], anySubject: true, action: 'Allow' },
];

const policies = [
  {
    podSelector: selector,
    mode: 'Enforce',
    identity: 'Token',
    defaultAction: 'Deny',
    unknownHosts: 'Record',
    inbound: { ports: [8080] },
    record: { requests: 'Digest', responses: 'None', maxBytes: 1_048_576 },
    delivery: 'Acknowledged',
    onAuditUnavailable: { wait: '5s' },
    limits: {
      sessions: 10,
      sessionDuration: '8h',
      idle: '15m',
      requestDuration: '30s500ms',
      concurrentRequests: 4,
      statementsPerMinute: 600,
      rowsPerRequest: 10_000,
      bytesPerRequest: 10_000_000,
      rowsPerSession: 100_000,
      bytesPerSession: 100_000_000,
      rowsPerHour: 1_000_000,
      bytesPerHour: 1_000_000_000,
    },
    rules,
  },
  { podSelector: {} },
];

const document = (kind: string, namespace: string | undefined) => (spec: Fields) => ({
  apiVersion: 'chaperone.dev/v1alpha1',
  kind,
  metadata: { name: 'sample', ...(namespace !== undefined && { namespace }) },
  spec,
});

/** Valid documents of each kind, by the plural of its CRD; between them they have every field that is applied. */
export const samples: ReadonlyMap<string, readonly Fields[]> = new Map([
  ['backends', backends.map(document('Backend', undefined))],
  ['identityproviders', providers.map(document('IdentityProvider', undefined))],
  ['auditpolicies', policies.map(document('AuditPolicy', 'shop'))],
  ['clusterauditpolicies', policies.map(document('ClusterAuditPolicy', undefined))],
]);

interface Unsupported {
  readonly plural: string;
  /** What the schema has and the parser refuses, and all fields within it. */
  readonly field: string;
  readonly spec: Fields;
}

const [backend] = backends.slice(-1);
const credential = (type: string): Fields => ({ type, secretRef: { name: 'login' } });
const ruleWith = (fields: Fields): Fields => ({
  podSelector: {},
  rules: [{ name: 'r', hosts: ['h'], anySubject: true, action: 'Deny', ...fields }],
});

/** What this version does not apply: the schema takes it, so that it need not change, and the parser says so. */
export const unsupported: readonly Unsupported[] = [
  { plural: 'backends', field: 'spec.protocol', spec: { ...backend, protocol: 'HTTP' } },
  {
    plural: 'backends',
    field: 'spec.credential.type',
    spec: { ...backend, protocol: 'SSH', credential: credential('SSHKey') },
  },
  {
    plural: 'backends',
    field: 'spec.credential.type',
    spec: { ...backend, protocol: 'HTTP', credential: credential('Token') },
  },
  {
    plural: 'backends',
    field: 'spec.upstream.hostKeys',
    spec: {
      ...backend,
      protocol: 'SSH',
      upstream: { ...backend?.upstream, hostKeys: ['ssh-ed25519 AAAA'] },
    },
  },
  {
    plural: 'identityproviders',
    field: 'spec.kubernetesUsername',
    spec: { ...providers[1], kubernetesUsername: '"oidc:" + principal.user' },
  },
  ...['auditpolicies', 'clusterauditpolicies'].flatMap((plural) => [
    { plural, field: 'spec.maxBundleAge', spec: { podSelector: {}, maxBundleAge: '24h' } },
    {
      plural,
      field: 'spec.rules[].http',
      spec: ruleWith({ http: { methods: ['GET'], paths: ['/'] } }),
    },
    { plural, field: 'spec.rules[].mcp', spec: ruleWith({ mcp: { tools: ['search'] } }) },
    {
      plural,
      field: 'spec.rules[].ssh',
      spec: ruleWith({ ssh: { commands: ['ls'], requests: ['exec'] } }),
    },
  ]),
];

/** A document of the kind with another `spec`. */
export function documentOf(plural: string, spec: Fields): Fields {
  return { ...samples.get(plural)?.[0], spec };
}
