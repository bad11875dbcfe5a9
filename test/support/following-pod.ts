import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { createInterface } from 'node:readline';
import jsonPatch from 'fast-json-patch';
import { readStreamLine, type BundleAck } from '#core/bundle-message.ts';
import type { Controller, ControllerPlace } from './controllers.ts';
import type { Namespace } from './cluster.ts';
import { injectPod, type InjectOptions } from '../../webhook/inject.ts';
import { injectOptions, plainPod, podFacts } from './pods.ts';

/** A pod as the webhook lets it in, which no node ever runs: the test is its sidecar. */
export interface FollowingPod extends Disposable {
  /** Revisions of what was sent, in order. */
  readonly revisions: readonly string[];
  /** Whether it takes what it is sent. */
  accepts: boolean;
  /** Follows a replica, with a token of the pod; one that was followed before is left. */
  follow(controller: Controller): Promise<void>;
}

/** Makes pods in a namespace that turn to controllers which have made their certificates. */
export async function makePods(
  place: ControllerPlace,
  agents: Namespace,
  names: readonly string[],
): Promise<readonly FollowingPod[]> {
  const read = ['get', 'configmap', 'chaperone-authorities', '--output=json'];
  const { data } = JSON.parse(await place.own.kubectl(read)) as { readonly data: Readonly<Record<string, string>> }; // prettier-ignore
  const [ca = '', collectorCa = ''] = [data['controller.crt'], data['collector.crt']];
  const options: InjectOptions = {
    ...injectOptions,
    controller: { url: place.urls.controller, addresses: place.addresses.controller, ca },
    collector: { url: place.urls.collector, addresses: place.addresses.collector, ca: collectorCa },
  };
  await agents.apply(names.map((name) => podOf(name, agents.name, options)));
  const servername = new URL(place.urls.controller).hostname;
  return Promise.all(
    names.map(async (name) => {
      const token = await agents.kubectl(['create', 'token', 'default', '--audience=chaperone-controller', '--bound-object-kind=Pod', `--bound-object-name=${name}`]); // prettier-ignore
      const headers = { authorization: `Bearer ${token.trim()}` };
      return new PodAtTest({ host: '127.0.0.1', servername, ca, headers });
    }),
  );
}

function podOf(name: string, namespace: string, options: InjectOptions): object {
  const nowhere = { nodeSelector: { 'chaperone.dev/test': 'none' } };
  const pod = plainPod(nowhere, { name, namespace, labels: { app: 'agent' } });
  const injection = injectPod(pod, podFacts, options, { draw: () => 1_234_567_890, keeps: true }); // prettier-ignore
  if (injection.kind === 'refused') throw new Error(JSON.stringify(injection.refusals));
  const document = structuredClone(pod);
  jsonPatch.applyPatch(document, structuredClone(injection.patch) as never, true);
  return { apiVersion: 'v1', kind: 'Pod', ...document };
}

interface AskOptions {
  readonly host: string;
  readonly servername: string;
  readonly ca: string;
  readonly headers: Readonly<Record<string, string>>;
}

class PodAtTest implements FollowingPod {
  readonly revisions: string[] = [];
  accepts = true;
  readonly #options: AskOptions;
  #stream: IncomingMessage | undefined;

  constructor(options: AskOptions) {
    this.#options = options;
  }

  async follow({ port }: Controller): Promise<void> {
    this.#stream?.destroy();
    const response = await this.#ask(port, 'GET', '/v1/bundle');
    if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${await textOf(response)}`); // prettier-ignore
    this.#stream = response;
    const lines = createInterface({ input: response });
    lines.on('error', () => undefined); // of a controller that was killed
    lines.on('line', (line) => {
      const read = readStreamLine(line);
      if (read.kind !== 'message' || read.message.type !== 'bundle') return;
      const { revision } = read.message;
      this.revisions.push(revision);
      const problems = this.accepts ? [] : [{ path: 'spec', message: 'not for me' }];
      const ack: BundleAck = { revision, accepted: this.accepts, problems };
      void this.#ask(port, 'POST', '/v1/bundle/ack', JSON.stringify(ack)).then((answer) => answer.resume(), () => undefined); // prettier-ignore
    });
  }

  [Symbol.dispose](): void {
    this.#stream?.destroy();
  }

  #ask(port: number, method: string, path: string, body = ''): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = { ...this.#options.headers, ...(body !== '' && { 'content-type': 'application/json' }) }; // prettier-ignore
      const outgoing = request({ ...this.#options, headers, port, method, path, agent: false }, resolve); // prettier-ignore
      outgoing.on('error', reject).end(body);
    });
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of response as AsyncIterable<Buffer>) text += piece.toString('utf8');
  return text;
}
