import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { Registry } from 'prom-client';
import type { Address } from './settings.ts';
import { usableAddress } from './usable-address.ts';

export interface HealthOptions {
  readonly listen: Address;
  readonly registry: Registry;
  /** Why the process cannot do its work now, or undefined when it can. */
  readonly notReady: () => string | undefined;
}

/** Serves `/healthz`, `/readyz` and `/metrics` on a listener of their own. Returns it with its URL. */
export async function startHealth(
  options: HealthOptions,
): Promise<{ server: Server; url: string }> {
  const server = createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000 },
    (request, response) => {
      const answer = (status: number, text: string, type = 'text/plain; charset=utf-8'): void => {
        response.writeHead(status, { 'content-type': type }).end(text);
      };
      if (request.method !== 'GET') return answer(405, 'GET only\n');
      if (request.url === '/healthz') return answer(200, 'ok\n');
      if (request.url === '/readyz') {
        const reason = options.notReady();
        return reason === undefined ? answer(200, 'ready\n') : answer(503, `${reason}\n`);
      }
      if (request.url !== '/metrics') return answer(404, 'not found\n');
      options.registry.metrics().then(
        (text) => answer(200, text, options.registry.contentType),
        () => answer(500, 'metrics failed\n'),
      );
      return undefined;
    },
  );
  server.maxConnections = 64;
  const { host: listened, port: wanted } = await usableAddress(options.listen);
  server.listen(wanted, listened);
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : options.listen.port;
  const host = options.listen.host.includes(':') ? `[${options.listen.host}]` : options.listen.host;
  return { server, url: `http://${host}:${port}/metrics` };
}
