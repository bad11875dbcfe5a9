import { Agent, request, type RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { isObject } from '#core/policy/fields.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** What the API server said to one request. */
export interface KubeAnswer {
  readonly status: number;
  /** The object, or the Status that says why not. */
  readonly body: Fields;
  /** Of a Status. */
  readonly message: string;
}

/** Talks to an API server as kubectl does, without a process for every request, and sees objects as they are stored. */
export class KubeRequests implements Disposable {
  readonly #config = new KubeConfig();
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });

  constructor(kubeconfig: string) {
    this.#config.loadFromFile(kubeconfig);
  }

  create(path: string, body: object): Promise<KubeAnswer> {
    return this.send('POST', path, body);
  }

  /** The object as it would be stored, and nothing is. */
  tryCreate(path: string, body: object): Promise<KubeAnswer> {
    return this.send('POST', `${path}?dryRun=All`, body);
  }

  get(path: string): Promise<KubeAnswer> {
    return this.send('GET', path);
  }

  /** A strategic merge: lists are merged by the names of what is in them. */
  patch(path: string, body: object): Promise<KubeAnswer> {
    return this.send('PATCH', path, body, 'application/strategic-merge-patch+json');
  }

  delete(path: string): Promise<KubeAnswer> {
    return this.send('DELETE', path);
  }

  async send(
    method: string,
    path: string,
    body?: object,
    type = 'application/json',
  ): Promise<KubeAnswer> {
    const server = this.#config.getCurrentCluster()?.server ?? '';
    const options: RequestOptions = { method, headers: { accept: 'application/json', 'content-type': type } }; // prettier-ignore
    await this.#config.applyToHTTPSOptions(options);
    const { promise, resolve, reject } = Promise.withResolvers<KubeAnswer>();
    const outgoing = request(server + path, { ...options, agent: this.#agent }, (response) => {
      response.toArray().then((pieces: Buffer[]) => {
        const answer: unknown = JSON.parse(Buffer.concat(pieces).toString());
        const fields = isObject(answer) ? answer : {};
        const message = typeof fields['message'] === 'string' ? fields['message'] : '';
        resolve({ status: response.statusCode ?? 0, body: fields, message });
      }, reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body && JSON.stringify(body));
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
