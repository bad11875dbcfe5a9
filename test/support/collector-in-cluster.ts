import { request } from 'node:https';
import { parseFrames } from '#core/record/frame.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import type { StreamRow } from '../../collector/store/read.ts';
import { testAuditor, type Installed } from './installed.ts';

/** Reads what the collector of a cluster has, as an auditor with a bearer token does. */
export interface Reader {
  /** The newest sessions that begin with what is asked for. */
  sessions(query?: Readonly<Record<string, string>>): Promise<readonly SessionSummary[]>;
  /** All records of a pod whose records are few. */
  records(namespace: string, pod: string): Promise<readonly RecordHeader[]>;
}

/** Makes a service account that may read, and a token of it. */
export async function readerOf({ system }: Installed): Promise<Reader> {
  await system.apply([
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'test-auditor' } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: testAuditor },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'chaperone-auditor' }, // prettier-ignore
      subjects: [{ kind: 'ServiceAccount', name: 'test-auditor', namespace: system.name }],
    },
  ]);
  const token = (await system.kubectl(['create', 'token', 'test-auditor', '--audience=chaperone-read', '--duration=2h'])).trim(); // prettier-ignore
  const read = (...args: readonly string[]): Promise<string> => system.kubectl(['get', ...args]);
  const ca = await read('configmap/chaperone-authorities', '--output=jsonpath={.data.collector\\.crt}'); // prettier-ignore
  const host = await read('service/chaperone-collector', '--output=jsonpath={.spec.clusterIP}');
  const servername = `chaperone-collector.${system.name}.svc`;
  const ask = (path: string): Promise<Buffer> => get({ host, servername, ca, path, token });
  const json = async <T>(path: string): Promise<T> => JSON.parse(String(await ask(path))) as T; // of this release's collector
  return {
    sessions: async (query = {}) =>
      (await json<{ sessions: SessionSummary[] }>(`/v1/sessions?${new URLSearchParams(query).toString()}`)).sessions, // prettier-ignore
    records: async (namespace, pod) => {
      const { streams } = await json<{ streams: StreamRow[] }>('/v1/streams?limit=1000');
      const headers: RecordHeader[] = [];
      for (const row of streams) {
        if (row.namespace !== namespace || row.pod !== pod) continue;
        const frames = parseFrames(await ask(`/v1/streams/${row.stream}/frames?from=1`));
        headers.push(...Array.from(frames, ({ header }) => header));
      }
      return headers;
    },
  };
}

interface Asked {
  readonly host: string;
  readonly servername: string;
  readonly ca: string;
  readonly path: string;
  readonly token: string;
}

function get({ token, ...where }: Asked): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    const outgoing = request({ ...where, port: 443, headers, timeout: 30_000 }, (response) => {
      response.toArray().then((pieces: Buffer[]) => {
        const body = Buffer.concat(pieces);
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`${where.path}: ${response.statusCode} ${String(body)}`));
      }, reject);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${where.path}: no answer in time`)));
    outgoing.on('error', reject).end();
  });
}
