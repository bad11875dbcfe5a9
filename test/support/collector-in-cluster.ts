import { request } from 'node:https';
import type { SessionSummary } from '#core/session-summary.ts';
import { testAuditor, type Installed } from './installed.ts';

/** Reads what the collector of a cluster has, as an auditor with a bearer token does. */
export interface Reader {
  /** The newest sessions that begin with what is asked for. */
  sessions(query?: Readonly<Record<string, string>>): Promise<readonly SessionSummary[]>;
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
  return {
    sessions: async (query = {}) => {
      const path = `/v1/sessions?${new URLSearchParams(query).toString()}`;
      const text = await get({ host, servername, ca, path, token });
      return (JSON.parse(text) as { sessions: SessionSummary[] }).sessions; // of this release's collector
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

function get({ token, ...where }: Asked): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    const outgoing = request({ ...where, port: 443, headers, timeout: 30_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${where.path}: ${response.statusCode} ${text}`));
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${where.path}: no answer in time`)));
    outgoing.on('error', reject).end();
  });
}
