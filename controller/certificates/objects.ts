import {
  AdmissionregistrationV1Api,
  ApiException,
  CoreV1Api,
  PatchStrategy,
  setHeaderOptions,
} from '@kubernetes/client-node';
import type { ClusterConnection } from '../../runtime/cluster-connection.ts';
import type { ServerKeyPair } from '#core/control.ts';
import { formatKept, tryParseKept, type Kept, type Server } from './kept.ts';

/** Where things are. All of them exist already: the controller may change them, and make none. */
export interface CertificatePlaces {
  readonly namespace: string;
  /** Name of both webhook configurations. */
  readonly webhookConfiguration: string;
}

/** Something that was read, and can be written as long as nobody else wrote it since. */
export interface Versioned<T> {
  readonly version: string;
  readonly value: T;
}

/** When somebody wants other authorities to take over, in milliseconds since 1970; undefined where nobody does. */
export interface Wanted {
  readonly wantedMs: number | undefined;
}

interface FoundSecret extends Versioned<ReadonlyMap<string, string>> {
  readonly annotations: Readonly<Record<string, string>>;
}

/** Somebody else wrote in between: read again. */
export class Conflict extends Error {}

const authoritySecret = 'chaperone-authority';
/** Annotation of that Secret: a time as RFC 3339 writes it. */
const replaceAt = 'chaperone.dev/replace-at';
const authoritiesMap = 'chaperone-authorities';
const webhookKinds = ['Mutating', 'Validating'] as const;

/** What certificates are kept in and published by, in the API. */
export class CertificateObjects {
  readonly places: CertificatePlaces;
  readonly #core: CoreV1Api;
  readonly #admission: AdmissionregistrationV1Api;

  constructor(connection: ClusterConnection, places: CertificatePlaces) {
    this.places = places;
    this.#core = new CoreV1Api(connection);
    this.#admission = new AdmissionregistrationV1Api(connection);
  }

  /** Undefined value: it cannot be read as what is kept. */
  async readKept(server: Server): Promise<Versioned<Kept | undefined> & Wanted> {
    const { version, value, annotations } = await this.#readSecret(authoritySecret);
    const wantedMs = Date.parse(annotations[replaceAt] ?? '');
    return {
      version,
      value: tryParseKept(value.get(server)),
      wantedMs: Number.isNaN(wantedMs) ? undefined : wantedMs,
    };
  }

  /** Of several servers, read at once. */
  async readAllKept<S extends Server>(
    servers: readonly S[],
  ): Promise<ReadonlyMap<S, Kept | undefined>> {
    const { value } = await this.#readSecret(authoritySecret);
    return new Map(servers.map((server) => [server, tryParseKept(value.get(server))]));
  }

  /** @throws Conflict */
  async writeKept(server: Server, version: string, kept: Kept): Promise<void> {
    await this.#writeSecret(authoritySecret, version, { [server]: formatKept(kept) });
  }

  /** What the server shows; empty texts where there is nothing yet. */
  async readLeaf(server: Server): Promise<Versioned<ServerKeyPair>> {
    const { version, value } = await this.#readSecret(`chaperone-${server}-tls`);
    const pair = { cert: value.get('tls.crt') ?? '', key: value.get('tls.key') ?? '' };
    return { version, value: pair };
  }

  /** @throws Conflict */
  async writeLeaf(server: Server, version: string, { cert, key }: ServerKeyPair): Promise<void> {
    const data = { 'tls.crt': cert, 'tls.key': key };
    await this.#writeSecret(`chaperone-${server}-tls`, version, data);
  }

  /** What clients are told to trust, in PEM. */
  async readAuthorities(server: Server): Promise<Versioned<string>> {
    const { namespace } = this.places;
    const { metadata, data } = await this.#core.readNamespacedConfigMap({ namespace, name: authoritiesMap }); // prettier-ignore
    return { version: metadata?.resourceVersion ?? '', value: data?.[`${server}.crt`] ?? '' };
  }

  /** @throws Conflict */
  async writeAuthorities(server: Server, version: string, pem: string): Promise<void> {
    const { namespace } = this.places;
    const body = { metadata: { resourceVersion: version }, data: { [`${server}.crt`]: pem } };
    await unlessConflict(
      this.#core.patchNamespacedConfigMap({ namespace, name: authoritiesMap, body }, mergePatch),
    );
  }

  /**
   * Has the API server trust authorities for every entry of both webhook configurations. Returns what was changed; one
   * that is not there is nobody's.
   * @throws Conflict
   */
  async trustInWebhooks(pem: string): Promise<readonly string[]> {
    const changed: string[] = [];
    for (const kind of webhookKinds) if (await this.#trustIn(kind, pem)) changed.push(kind);
    return changed;
  }

  async #trustIn(kind: (typeof webhookKinds)[number], pem: string): Promise<boolean> {
    const name = this.places.webhookConfiguration;
    const found = await unlessAbsent(
      kind === 'Mutating'
        ? this.#admission.readMutatingWebhookConfiguration({ name })
        : this.#admission.readValidatingWebhookConfiguration({ name }),
    );
    const caBundle = Buffer.from(pem).toString('base64');
    const entries = found?.webhooks ?? [];
    if (entries.every(({ clientConfig }) => clientConfig.caBundle === caBundle)) return false;
    const body = {
      metadata: { resourceVersion: found?.metadata?.resourceVersion },
      // Entries are merged by name: what else they say is not ours to repeat.
      webhooks: entries.map((entry) => ({ name: entry.name, clientConfig: { caBundle } })),
    };
    await unlessConflict(
      kind === 'Mutating'
        ? this.#admission.patchMutatingWebhookConfiguration({ name, body }, entriesPatch)
        : this.#admission.patchValidatingWebhookConfiguration({ name, body }, entriesPatch),
    );
    return true;
  }

  async #readSecret(name: string): Promise<FoundSecret> {
    const { namespace } = this.places;
    const { metadata, data = {} } = await this.#core.readNamespacedSecret({ namespace, name });
    const entries = Object.entries(data).map(([key, value]): [string, string] => [
      key,
      Buffer.from(value, 'base64').toString(),
    ]);
    const { resourceVersion = '', annotations = {} } = metadata ?? {};
    return { version: resourceVersion, value: new Map(entries), annotations };
  }

  async #writeSecret(
    name: string,
    version: string,
    texts: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { namespace } = this.places;
    const entries = Object.entries(texts).map(([key, text]) => [
      key,
      Buffer.from(text).toString('base64'),
    ]);
    const body = { metadata: { resourceVersion: version }, data: Object.fromEntries(entries) };
    await unlessConflict(this.#core.patchNamespacedSecret({ namespace, name, body }, mergePatch));
  }
}

const mergePatch = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
const entriesPatch = setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch);

async function unlessConflict(written: Promise<unknown>): Promise<void> {
  try {
    await written;
  } catch (error) {
    if (error instanceof ApiException && error.code === 409) throw new Conflict();
    throw error;
  }
}

async function unlessAbsent<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof ApiException && error.code === 404) return undefined;
    throw error;
  }
}
