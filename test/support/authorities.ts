import type { Namespace } from './cluster.ts';
import { until } from './until.ts';

/** Replaces the authorities of an installation as docs/install.md tells an operator to, and waits where one would. */
export class Authorities {
  readonly #system: Namespace;

  constructor(system: Namespace) {
    this.#system = system;
  }

  /** Announces the next ones, and waits until all webhooks give them to pods. */
  async announce(): Promise<void> {
    const before = await this.#readAgain('authorities', ['webhook']);
    const trusted = await this.#trusted();
    await this.#replaceAt(new Date(Date.now() + 3_600_000));
    await until('they are announced', async () => {
      const now = await this.#trusted();
      return now.every((pem, index) => pem !== trusted[index]);
    });
    await this.#hurry(['webhook']);
    await until(
      'webhooks know them',
      async () => {
        const now = await this.#readAgain('authorities', ['webhook']);
        return [...now].every(([pod, count]) => count > (before.get(pod) ?? 0));
      },
      kubeletMs,
    );
  }

  /** Has them take over, and waits until all servers show their certificates. */
  async takeOver(): Promise<void> {
    const before = await this.#readAgain('certificate', ['webhook', 'collector']);
    const leaves = await this.#leaves();
    await this.#replaceAt(new Date());
    await until('there are new certificates', async () => {
      const now = await this.#leaves();
      return now.every((leaf, index) => leaf !== leaves[index]);
    });
    await this.#hurry(['webhook', 'collector']);
    await until(
      'all servers show them',
      async () => {
        const now = await this.#readAgain('certificate', ['webhook', 'collector']);
        return [...now].every(([pod, count]) => count > (before.get(pod) ?? 0));
      },
      kubeletMs,
    );
  }

  async #replaceAt(time: Date): Promise<void> {
    const annotation = `chaperone.dev/replace-at=${time.toISOString()}`;
    await this.#system.kubectl(['annotate', 'secret', 'chaperone-authority', '--overwrite', annotation]); // prettier-ignore
  }

  async #get<T>(what: string): Promise<T> {
    return JSON.parse(await this.#system.kubectl(['get', what, '--output=json'])) as T; // as the API serves it
  }

  async #trusted(): Promise<readonly (string | undefined)[]> {
    const { data } = await this.#get<{ data: Record<string, string> }>('configmap/chaperone-authorities'); // prettier-ignore
    return servers.map((server) => data[`${server}.crt`]);
  }

  async #leaves(): Promise<readonly (string | undefined)[]> {
    const secrets = await Promise.all(servers.map((server) => this.#get<{ data: Record<string, string> }>(`secret/chaperone-${server}-tls`))); // prettier-ignore
    return secrets.map(({ data }) => data['tls.crt']);
  }

  /** The kubelet looks at what it has mounted once a minute, and whenever something of the pod changes. */
  async #hurry(components: readonly string[]): Promise<void> {
    const annotation = `chaperone.dev/test=${Date.now()}`;
    await this.#system.kubectl(['annotate', 'pods', `--selector=${selectorOf(components)}`, '--overwrite', annotation]); // prettier-ignore
  }

  /** How often each pod has read something anew, by its log. */
  async #readAgain(
    what: string,
    components: readonly string[],
  ): Promise<ReadonlyMap<string, number>> {
    const names = (await this.#system.kubectl(['get', 'pods', `--selector=${selectorOf(components)}`, '--output=jsonpath={.items[*].metadata.name}'])).split(' '); // prettier-ignore
    const counts = names.map(async (name): Promise<[string, number]> => {
      const lines = (await this.#system.logs(name)).split('\n');
      const isRead = (line: string): boolean => line.includes(`"files":"${what}"`) && line.includes('"state":"changed"'); // prettier-ignore
      return [name, lines.filter(isRead).length];
    });
    return new Map(await Promise.all(counts));
  }
}

const kubeletMs = 120_000; // it takes its time where it is not hurried
const servers = ['webhook', 'controller', 'collector'] as const;

const selectorOf = (components: readonly string[]): string =>
  `app.kubernetes.io/name=chaperone,app.kubernetes.io/component in (${components.join()})`;
