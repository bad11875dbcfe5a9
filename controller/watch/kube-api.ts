import { request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { KubeConfig } from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';
import { isObject } from '#core/policy/fields.ts';

/** An object of the API, as it came. */
export type KubeObject = Readonly<Record<string, unknown>>;

/** Some of the objects of a kind; all pages of a list are of one moment. */
export interface KubePage {
  readonly items: readonly KubeObject[];
  /** Where a watch of what comes after the list begins. */
  readonly version: string;
}

/** What a watch tells. */
export interface KubeEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: KubeObject;
}

export interface WatchOptions {
  readonly version: string;
  readonly onEvent: (event: KubeEvent) => void;
  readonly signal: AbortSignal;
}

/** How a watch ended: it goes on where it was, or everything has to be listed anew. */
export type WatchEnd = 'ended' | 'expired';

const answerMs = 30_000;
const mostOfPage = 100;
/** Of a page: anybody may make objects of 1.5 MiB by the hundred, which take several times that once they are read. */
const maxBytes = 16 * 1024 * 1024;
/** The API server ends a watch by itself after so long. */
const watchSeconds = { least: 240, spread: 60 };
/** It sends a bookmark a minute: what is silent for longer is a connection that nobody holds any more. */
const silenceMs = 100_000;
/** After so long without a byte the kernel asks the other end's whether there is one, and gives it ten seconds. */
const keepAliveMs = 20_000;

/**
 * Lists and watches over the API with the library's credentials. The library's own watch passes over what it cannot read
 * and over errors that the server sends within a stream, and one of them says that everything has to be listed anew.
 */
export class KubeApi {
  readonly #config: KubeConfig;
  readonly #server: string;

  /** @throws ChaperoneError `config-invalid` where the configuration names no cluster. */
  constructor(config: KubeConfig) {
    const server = config.getCurrentCluster()?.server;
    if (server === undefined)
      throw new ChaperoneError(
        'config-invalid',
        'there is no cluster, and no KUBECONFIG names one',
      );
    this.#config = config;
    this.#server = server;
  }

  /**
   * Reads a list page by page, the last one with no more behind it; of fewer objects where they are long. Nothing is kept
   * of a page that was taken. Throws when the server does not answer as it should.
   */
  async *pages(path: string, signal: AbortSignal): AsyncGenerator<KubePage> {
    let next = '';
    let size = mostOfPage;
    do {
      const query = { limit: String(size), ...(next !== '' && { continue: next }) };
      const response = await this.#get(path, query, signal);
      const text = await tryText(response, maxBytes);
      if (text === undefined && size === 1) throw new Error('too long an object');
      if (text === undefined) {
        size = Math.ceil(size / 4);
        continue;
      }
      const body: unknown = JSON.parse(text);
      const { items, metadata } = isObject(body) ? body : {};
      if (!Array.isArray(items) || !isObject(metadata)) throw new Error('a list that is none');
      const { resourceVersion: version, continue: more } = metadata;
      if (typeof version !== 'string') throw new Error('a list of no version');
      yield { items: items.filter(isObject), version };
      next = typeof more === 'string' ? more : '';
      if (next === '') return;
    } while (!signal.aborted);
    signal.throwIfAborted();
  }

  /** Follows changes until the server ends it. Rejects when the connection breaks or is silent for too long. */
  async watch(path: string, { version, onEvent, signal }: WatchOptions): Promise<WatchEnd> {
    const seconds = watchSeconds.least + Math.floor(Math.random() * watchSeconds.spread);
    const query = { watch: '1', allowWatchBookmarks: 'true', resourceVersion: version, timeoutSeconds: String(seconds) }; // prettier-ignore
    const silent = new AbortController();
    const both = AbortSignal.any([signal, silent.signal]);
    const response = await this.#get(path, query, both).catch((error: unknown) => {
      if (error instanceof StatusError && error.status === 410) return undefined;
      throw error;
    });
    if (!response) return 'expired';
    const timer = setTimeout(() => silent.abort(new Error('a watch was silent')), silenceMs);
    response.on('data', () => timer.refresh());
    try {
      for await (const line of createInterface({ input: response })) {
        const event: unknown = JSON.parse(line);
        if (!isObject(event) || !isObject(event['object']))
          throw new Error('an event that is none');
        const { type, object } = event;
        if (type === 'ERROR') {
          if (object['code'] === 410) return 'expired';
          throw new Error(`the server ended a watch with ${String(object['code'])}`);
        }
        if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK')
          onEvent({ type, object });
      }
      both.throwIfAborted();
      return 'ended';
    } finally {
      clearTimeout(timer);
      response.destroy();
    }
  }

  async #get(
    path: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const url = new URL(this.#server + path);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const options: RequestOptions = {
      method: 'GET',
      headers: { accept: 'application/json' },
      signal,
    };
    await this.#config.applyToHTTPSOptions(options);
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { ...options, agent: false }, (response) => {
        clearTimeout(timer);
        if (response.statusCode === 200) return resolve(response);
        response.resume();
        return reject(new StatusError(response.statusCode ?? 0));
      });
      const timer = setTimeout(() => outgoing.destroy(new Error('no answer in time')), answerMs);
      outgoing.on('socket', (socket) => socket.setKeepAlive(true, keepAliveMs));
      outgoing.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      outgoing.end();
    });
  }
}

/** The API server said no. */
export class StatusError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the API server answered ${status}`);
    this.status = status;
  }
}

/** Undefined for what is longer than `most` bytes: no more than those are read. */
async function tryText(response: IncomingMessage, most: number): Promise<string | undefined> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > most) return undefined; // and the connection with it
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
