import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendServer } from './backend-server.ts';
import { startInstance, type StartOptions, type TestInstance } from './instance.ts';

/** A sidecar before a server: where agents dial to go through, and with what. */
export interface Through extends AsyncDisposable {
  readonly instance: TestInstance;
  readonly host: string;
  /** As the ready file has it now: it stays the same over restarts. */
  readonly port: number;
  /** A token, which agents present as their password whatever user they name. */
  readonly password: string;
}

const backendName = 'through';

/**
 * Starts everything with `server` as a further backend, under its superuser's password, that everybody may use with a
 * token under a policy that allows and records everything.
 */
export async function startThrough(
  server: BackendServer,
  options: StartOptions = {},
): Promise<Through> {
  const instance = await startInstance({
    ...options,
    secrets: {
      ...options.secrets,
      credentials: { 'through-credential': { username: server.user, password: server.password } },
    },
    prepare: (config) => {
      writeFileSync(join(config, 'through.yaml'), backendResource(server));
      options.prepare?.(config);
    },
  });
  const address = instance.instance.backends[backendName];
  if (!address) throw new Error('the sidecar does not listen for the backend');
  return {
    instance,
    ...address,
    password: await instance.token({ ttl: '86400' }),
    [Symbol.asyncDispose]: () => instance[Symbol.asyncDispose](),
  };
}

function backendResource({ host, port }: BackendServer): string {
  return JSON.stringify({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: backendName },
    spec: {
      protocol: 'Postgres',
      hosts: ['through-db'],
      ports: [port],
      upstream: { address: `${host}:${port}`, tls: { mode: 'Disable' } },
      consumers: [{ namespace: 'local', serviceAccounts: ['local'] }],
      credential: { type: 'Password', secretRef: { name: 'through-credential' } },
    },
  });
}
