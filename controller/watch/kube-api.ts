import { request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { KubeConfig } from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';
import { isObject } from '#core/policy/fields.ts';

/** An object of the API, as it came. */
export type KubeObject = Readonly<Record<string, unknown>>;

/** All objects of a kind at one moment. */
export interface KubeList {
  readonly items: readonly KubeObject[];
  /** Where a watch of what comes after it begins. */
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
const pageSize = 500;
const maxBytes = 512 * 1024 * 1024; // of a page
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

  /** Reads all pages. Rejects when the server does not answer as it should. */
  async list(path: string, signal: AbortSignal): Promise<KubeList> {
    const items: KubeObject[] = [];
    let next = '';
    for (;;) {
      const query = { limit: String(pageSize), ...(next !== '' && { continue: next }) };
      const response = await this.#get(path, query, signal);
      const body: unknown = JSON.parse(await textOf(response, maxBytes));
      const { items: page, metadata } = isObject(body) ? body : {};
      if (!Array.isArray(page) || !isObject(metadata)) throw new Error('a list that is none');
      items.push(...page.filter(isObject));
      const { resourceVersion, continue: more } = metadata;
      next = typeof more === 'string' ? more : '';
      if (next === '' && typeof resourceVersion === 'string')
        return { items, version: resourceVersion };
      if (next === '') throw new Error('a list of no version');
    }
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

async function textOf(response: IncomingMessage, most: number): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > most) throw new Error('too long an answer');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
