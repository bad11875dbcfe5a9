import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { LocalCa } from '../../cli/dev/certificates.ts';

/** What stands behind a path of the API: an object, or the status with which it is refused. */
export type Served = object | number;

/** As much of the Kubernetes API as the webhook asks for, over HTTPS. */
export interface ApiServer extends AsyncDisposable {
  /** A kubeconfig for it. */
  readonly kubeconfig: string;
  /** How many connections it was asked over. */
  readonly connections: () => number;
  /** By path. What is not here is not found. */
  readonly objects: Map<string, Served>;
  readonly events: Record<string, unknown>[];
  /** Settles with the next Event that is created. */
  nextEvent(): Promise<Record<string, unknown>>;
}

export async function startApiServer(
  ca: LocalCa,
  objects: Map<string, Served>,
): Promise<ApiServer> {
  const events: Record<string, unknown>[] = [];
  const names = new Set<string>();
  let wake = Promise.withResolvers<Record<string, unknown>>();
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    const path = new URL(request.url ?? '/', 'http://api').pathname;
    const served = objects.get(path);
    if (typeof served === 'number') return answer(served, { kind: 'Status', code: served });
    if (request.method === 'GET') return served ? answer(200, served) : answer(404, {});
    const body = Buffer.concat(await request.toArray()).toString();
    const event = JSON.parse(body) as Record<string, unknown> & { metadata: { name: string } };
    if (names.has(event.metadata.name)) return answer(409, { kind: 'Status', code: 409 });
    names.add(event.metadata.name);
    events.push(event);
    answer(201, event);
    wake.resolve(event);
    wake = Promise.withResolvers();
    return undefined;
  };
  const server = createServer(await ca.issue('api'), (request, response) => {
    serve(request, response).catch(() => response.destroy()); // the client sees that
  });
  let connections = 0;
  server.on('secureConnection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    kubeconfig: kubeconfigFor(`https://127.0.0.1:${port}`, ca),
    connections: () => connections,
    objects,
    events,
    nextEvent: () => wake.promise,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** A kubeconfig for a server of that CA. */
export function kubeconfigFor(url: string, ca: LocalCa): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'test',
        cluster: {
          server: url,
          'certificate-authority-data': Buffer.from(ca.certificate).toString('base64'),
        },
      },
    ],
    users: [{ name: 'test', user: { token: 'token' } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  });
}
