import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendCredential } from '#core/control.ts';
import type { UpstreamTls } from '#core/policy/resources.ts';
import type { BackendServer } from './backend-server.ts';
import { startInstance, type StartOptions, type TestInstance } from './instance.ts';

/** A sidecar before a server: where agents dial to go through, and with what. */
export interface Through extends AsyncDisposable {
  readonly instance: TestInstance;
  readonly host: string;
  /** As the ready file has it now: it stays the same over restarts. */
  readonly port: number;
  /** A token, which agents present as their password whatever user they name; relayed, the server's own password. */
  readonly password: string;
}

export interface ThroughOptions extends StartOptions {
  /** How the sidecar speaks to the server. Default: verified where the server has TLS, plain where it has not. */
  readonly tls?: UpstreamTls['mode'];
  /** The CA that is trusted; the server's own where none is given. */
  readonly ca?: string;
  /** What the sidecar logs in with. Default: the superuser's password. `relayed`: agents log in themselves. */
  readonly credential?: BackendCredential | 'relayed';
  /** Further fields of the Backend's spec. */
  readonly spec?: object;
}

const backendName = 'through';
const secretName = 'through-credential';

/**
 * Starts everything with `server` as a further backend that everybody may use, with a token unless logins are relayed,
 * under a policy that allows and records everything.
 */
export async function startThrough(
  server: BackendServer,
  options: ThroughOptions = {},
): Promise<Through> {
  const relayed = options.credential === 'relayed';
  const instance = await startInstance({
    ...options,
    secrets: {
      ...options.secrets,
      credentials: relayed ? {} : { [secretName]: login(server, options) },
    },
    prepare: (config) => {
      writeFileSync(join(config, 'through.yaml'), backendResource(server, options));
      // The policies of the example ask for a token, which relayed logins have no place for.
      if (relayed) writeFileSync(join(config, 'policies.yaml'), observing);
      options.prepare?.(config);
    },
  });
  const address = instance.instance.backends[backendName];
  if (!address) throw new Error('the sidecar does not listen for the backend');
  return {
    instance,
    ...address,
    password: relayed ? server.password : await instance.token({ ttl: '86400' }),
    [Symbol.asyncDispose]: () => instance[Symbol.asyncDispose](),
  };
}

function login(server: BackendServer, { credential }: ThroughOptions): BackendCredential {
  if (credential && credential !== 'relayed') return credential;
  return { type: 'Password', username: server.user, password: server.password };
}

function backendResource(server: BackendServer, options: ThroughOptions): string {
  const { host, port } = server;
  const mode = options.tls ?? (server.ca === undefined ? 'Disable' : 'VerifyFull');
  const ca = mode.startsWith('Verify') ? { ca: options.ca ?? server.ca } : {};
  const { type } = login(server, options);
  return JSON.stringify({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: backendName },
    spec: {
      protocol: 'Postgres',
      hosts: ['through-db'],
      ports: [port],
      upstream: { address: `${host}:${port}`, tls: { mode, ...ca } },
      consumers: [{ namespace: 'local', serviceAccounts: ['local'] }],
      ...(options.credential === 'relayed'
        ? {}
        : { credential: { type, secretRef: { name: secretName } } }),
      ...options.spec,
    },
  });
}

const observing = JSON.stringify({
  apiVersion: 'chaperone.dev/v1alpha1',
  kind: 'ClusterAuditPolicy',
  metadata: { name: 'observing' },
  spec: { podSelector: {}, mode: 'Observe', defaultAction: 'Allow', identity: 'Workload' },
});
