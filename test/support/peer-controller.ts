import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import type { BundleAck, BundleMessage } from '#core/bundle-message.ts';
import { createLocalCa, type LocalCa } from '../../cli/dev/certificates.ts';

/** The other end of the stream of bundles, for tests of the sidecar's: it sends what it is told to. */
export interface PeerController extends AsyncDisposable {
  readonly url: URL;
  readonly ca: string;
  /** Tokens with which streams were asked for, in order. */
  readonly tokens: readonly string[];
  readonly acks: readonly BundleAck[];
  /** Bodies of what asked for new keys. */
  readonly keysAsked: readonly unknown[];
  /** How streams are answered: 200, or a refusal. */
  status: number;
  /** Whether a refusal has no end. */
  unending: boolean;
  /** How many acknowledgements it still takes for those of a bundle that another has sent. */
  ackRefusals: number;
  /** Writes to every stream, as it is. */
  write(text: string): void;
  /** Ends every stream. */
  end(): void;
}

export async function startPeerController(
  authority?: LocalCa,
  atPort = 0,
): Promise<PeerController> {
  const ca = authority ?? (await createLocalCa(Date.now()));
  const streams = new Set<ServerResponse>();
  const tokens: string[] = [];
  const acks: BundleAck[] = [];
  const keysAsked: unknown[] = [];
  let last = '';
  let status = 200;
  let unending = false;
  let ackRefusals = 0;
  const server = createServer(await ca.issue('controller'), (request, response) => {
    if (request.url === '/v1/bundle') {
      tokens.push(request.headers.authorization ?? '');
      response.writeHead(status, { 'content-type': 'application/x-ndjson' });
      if (status !== 200 && unending) return void response.write('{"detail":');
      if (status !== 200) return void response.end('{"detail":"the pod is not ours"}');
      streams.add(response.on('close', () => streams.delete(response)));
      response.flushHeaders();
      if (last !== '') response.write(last);
      return undefined;
    }
    return void readBody(request).then((body) => {
      if (request.url === '/v1/bundle/ack')
        acks.push(body as BundleAck); // of the sidecar under test
      else keysAsked.push(body);
      const isRefused = request.url === '/v1/bundle/ack' && ackRefusals > 0;
      if (isRefused) ackRefusals -= 1;
      response.writeHead(isRefused ? 409 : 204).end();
    });
  });
  server.listen(atPort, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    url: new URL(`https://127.0.0.1:${port}`),
    ca: ca.certificate,
    tokens,
    acks,
    keysAsked,
    get status() {
      return status;
    },
    set status(given) {
      status = given;
    },
    get unending() {
      return unending;
    },
    set unending(given) {
      unending = given;
    },
    get ackRefusals() {
      return ackRefusals;
    },
    set ackRefusals(given) {
      ackRefusals = given;
    },
    write: (text) => {
      last = text.endsWith('\n') ? text : '';
      for (const stream of streams) stream.write(text);
    },
    end: () => {
      for (const stream of streams) stream.end();
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await delay(0);
    },
  };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const piece of request as AsyncIterable<Buffer>) text += piece.toString('utf8');
  return JSON.parse(text);
}

/** A line with a bundle for the pod `agent-0` of the namespace `agents`. */
export function bundleLine(
  peer: Pick<PeerController, 'ca'>,
  changes: Partial<BundleMessage> = {},
): string {
  const message: BundleMessage = {
    type: 'bundle',
    version: 1,
    revision: 'one',
    workload: {
      pod: 'agent-0',
      namespace: 'agents',
      serviceAccount: 'agent',
      uid: '6f1c0d0e-0000-4000-8000-000000000000',
      labels: { app: 'agent' },
    },
    attachment: 'Namespace',
    resources: [
      {
        apiVersion: 'chaperone.dev/v1alpha1',
        kind: 'AuditPolicy',
        metadata: { name: 'agents', namespace: 'agents' },
        spec: { podSelector: { matchLabels: { app: 'agent' } }, mode: 'Observe' },
      },
    ],
    keys: {},
    credentials: {},
    network: { resolver: '127.0.0.1:53', searchDomains: [], deniedAddresses: [] },
    authorities: { controller: peer.ca, collector: peer.ca },
    ...changes,
  };
  return `${JSON.stringify(message)}\n`;
}
