import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { BundleMessage, StreamMessage } from '#core/bundle-message.ts';
import { createLocalCa, type LocalCa } from '../../cli/dev/certificates.ts';

/** One question that it was asked. */
export interface PeerQuestion {
  /** `GET /v1/bundle` */
  readonly what: string;
  /** As it was presented. */
  readonly token: string;
  readonly body: unknown;
}

/** The other end of a bundle stream, for tests of the sidecar's: it says what a test has it say. */
export interface PeerController extends AsyncDisposable {
  readonly url: URL;
  /** PEM of the authority whose certificate it shows. */
  readonly ca: string;
  readonly questions: readonly PeerQuestion[];
  /** Streams that are open. */
  readonly open: number;
  /** Sent first on each stream, and at once on those that are open; undefined: nothing. */
  say(message: StreamMessage | undefined): void;
  /** Writes to the streams that are open, as it is. */
  write(text: string): void;
  /** Breaks all connections off. */
  cut(): void;
  /** Shows a certificate of another authority, to connections from now on. */
  show(authority: LocalCa): Promise<void>;
  /** Waits until it was asked so, as often as that. */
  asked(what: string, times?: number): Promise<PeerQuestion>;
  /** Stands before what it would do with a question. */
  intercept: ((what: string, response: ServerResponse) => boolean) | undefined;
}

export async function startPeerController(port = 0): Promise<PeerController> {
  const authority = await createLocalCa(Date.now());
  const questions: PeerQuestion[] = [];
  const streams = new Set<ServerResponse>();
  let said: StreamMessage | undefined;
  const server = createServer(await authority.issue('controller'), (request, response) => {
    void read(request).then((body) => {
      const what = `${request.method} ${request.url}`;
      const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
      questions.push({ what, token, body });
      if (peer.intercept?.(what, response) === true) return;
      if (what !== 'GET /v1/bundle') return void response.writeHead(what === 'POST /v1/keys/refresh' ? 202 : 204).end(); // prettier-ignore
      response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
      streams.add(response);
      response.once('close', () => streams.delete(response));
      if (said) response.write(`${JSON.stringify(said)}\n`);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as AddressInfo; // a TCP server's address is one
  const peer: PeerController = {
    url: new URL(`https://127.0.0.1:${address.port}`),
    ca: authority.certificate,
    questions,
    get open() {
      return streams.size;
    },
    say: (message) => {
      said = message;
      if (message) peer.write(`${JSON.stringify(message)}\n`);
    },
    write: (text) => {
      for (const stream of streams) stream.write(text);
    },
    cut: () => server.closeAllConnections(),
    show: async (other) => server.setSecureContext(await other.issue('controller')),
    asked: async (what, times = 1) => {
      for (;;) {
        const found = questions.filter((question) => question.what === what)[times - 1];
        if (found) return found;
        await delay(10);
      }
    },
    intercept: undefined,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return peer;
}

/** A bundle for the pod `agents/agent-0`, with what a test gives in place of nothing. */
export function bundleMessage(given: Partial<BundleMessage>): BundleMessage {
  return {
    type: 'bundle',
    version: 1,
    revision: 'r1',
    workload: {
      pod: 'agent-0',
      namespace: 'agents',
      serviceAccount: 'agent',
      uid: '0b6f3c4e-8d5a-4a0e-9c6e-2f1d1f0a7b11',
      labels: { app: 'agent' },
    },
    attachment: 'Namespace',
    resources: [],
    keys: {},
    credentials: {},
    network: { resolver: '127.0.0.1:53', searchDomains: [], deniedAddresses: [] },
    authorities: { controller: '', collector: '' },
    ...given,
  };
}

async function read(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const piece of request as AsyncIterable<Buffer>) text += piece.toString('utf8');
  return text === '' ? undefined : JSON.parse(text);
}
