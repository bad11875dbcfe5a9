import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import type { RecordHeader } from '#core/record/kinds.ts';
import { startBackendServer, type BackendServer } from './backend-server.ts';
import { RawClient } from './raw-client.ts';
import { startThrough, type Through } from './through.ts';
import { until } from './until.ts';

/** A sidecar before a server, under policies whose limits a test sets. */
export interface Limited extends AsyncDisposable {
  readonly server: BackendServer;
  readonly through: Through;
  /** Past the sidecar. */
  readonly admin: Client;
  /** Puts policies with these limits in force, in place of those before; the first is called `limits-0`. */
  limit(...policies: readonly LimitedPolicy[]): Promise<void>;
  /** Connects as somebody whom no other session belongs to, unless it says so. */
  connect(who: string): Promise<Client>;
  connectRaw(who: string): Promise<RawClient>;
  /** Headers of the only session of somebody, once it has ended and is stored. */
  recordsOf(who: string): Promise<readonly RecordHeader[]>;
}

/** Limits as they stand in a policy, of one that enforces unless it says otherwise. */
export interface LimitedPolicy {
  readonly limits: Readonly<Record<string, number | string>>;
  readonly mode?: 'Enforce' | 'Observe';
  readonly identity?: 'Token' | 'Workload';
}

export async function startLimited(prepare?: (config: string) => void): Promise<Limited> {
  const server = await startBackendServer({ version: 18, authentication: 'password' });
  const through = await startThrough(server, prepare ? { prepare } : {});
  const { host, port, user, password } = server;
  const admin = new Client({ host, port, user, password, database: 'postgres' });
  await admin.connect();
  const { instance } = through;
  const login = async (
    who: string,
  ): Promise<{ host: string; port: number; user: string; database: string; password: string }> => ({
    host: through.host,
    port: through.port,
    user: 'postgres',
    database: 'postgres',
    password: await instance.token({ sub: who }),
  });
  let written = '';
  return {
    server,
    through,
    admin,
    limit: async (...policies) => {
      const text = policies
        .map((each, index) => JSON.stringify(resource(each, index)))
        .join('\n---\n');
      if (text === written) return;
      written = text;
      const before = instance.output.length;
      writeFileSync(join(instance.config, 'limits.yaml'), text);
      await until('the limits are in force', () =>
        /is in force/.test(instance.output.slice(before)),
      );
    },
    connect: async (who) => {
      const client = new Client(await login(who));
      client.on('error', () => undefined);
      await client.connect();
      return client;
    },
    connectRaw: async (who) => RawClient.connect(await login(who)),
    recordsOf: async (who) => {
      const client = instance.collector();
      const { id } = await until(`the session of ${who} is stored`, async () => {
        const [newest] = await client.sessions({ who });
        return newest?.endedAt === null ? undefined : newest;
      });
      const headers: RecordHeader[] = [];
      for await (const { header } of client.frames(id)) headers.push(header);
      return headers;
    },
    [Symbol.asyncDispose]: async () => {
      await admin.end();
      await through[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

function resource(
  { limits, mode = 'Enforce', identity = 'Token' }: LimitedPolicy,
  index: number,
): object {
  return {
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'AuditPolicy',
    metadata: { name: `limits-${index}`, namespace: 'local' },
    spec: {
      podSelector: { matchLabels: { app: 'local' } },
      mode,
      defaultAction: 'Allow',
      identity,
      limits,
    },
  };
}

/** Every result as `status code limit rows`. */
export function resultsOf(headers: readonly RecordHeader[]): string[] {
  return headers.flatMap((header) =>
    header.kind === 'result'
      ? [
          [
            header.status,
            header['db.response.status_code'] ?? '-',
            header.limit ?? '-',
            header['db.response.returned_rows'] ?? 0,
          ].join(' '),
        ]
      : [],
  );
}

/** Every verdict that is a no, as `reason policy`. */
export function denialsOf(headers: readonly RecordHeader[]): string[] {
  return headers.flatMap((header) =>
    (header.kind === 'request' || header.kind === 'statement') && header.verdict.action === 'Deny'
      ? [`${header.verdict.reason} ${header.verdict.policy ?? ''}`]
      : [],
  );
}

export function endOf(headers: readonly RecordHeader[]): string | undefined {
  return headers.flatMap((header) => (header.kind === 'session.end' ? [header.reason] : []))[0];
}
