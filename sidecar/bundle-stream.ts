import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import {
  maxLineBytes,
  readStreamLine,
  silenceMs,
  type BundleAck,
  type BundleMessage,
} from '#core/bundle-message.ts';
import type { Bundle, ProviderKeys } from '#core/policy/resolve.ts';
import type { Problem } from '#core/policy/resources.ts';
import { BoundedLines } from './bounded-lines.ts';
import { lookupAmong } from './given-addresses.ts';
import { KeysAsked } from './keys-asked.ts';
import { judgeBundle } from './received-bundle.ts';

/** Why the controller is not followed now. */
export interface Lost {
  /** Holds nothing that is secret. */
  readonly reason: string;
  /** It had said something, and ended the stream itself: it does so when a token expires and when a replica stops. */
  readonly isOrderly: boolean;
}

export interface BundleStreamOptions {
  readonly url: URL;
  /** Where the controller is; its name is what its certificate has to say. */
  readonly addresses: readonly string[];
  /** Certificates of the controller's CA, PEM, until a bundle announces others. */
  readonly ca: string;
  /** Holds the pod's token, and is read at each request. */
  readonly tokenFile: string;
  /** A bundle that holds together, with all that comes with it. */
  readonly onBundle: (bundle: Bundle, message: BundleMessage) => void;
  /** What is wrong with one; the bundle before stays in force. */
  readonly onRefused: (problems: readonly Problem[]) => void;
  /** An operator asks to end the session whose id begins so. */
  readonly onKill: (session: string) => void;
  /** The controller said something that can be read, be it only that it is there. */
  readonly onHeard: () => void;
  /** The stream was lost, or could not be had. */
  readonly onLost: (lost: Lost) => void;
  readonly signal: AbortSignal;
}

const answerMs = 10_000;
/**
 * The rules of a pod come into force when its sidecar may be connected already, and take a segment from outside for the
 * beginning of something new until one from here has passed. A probe of TCP's is one, also where nobody has anything to say.
 */
const keepAliveMs = 2_000;
/** At most as long after a stream on which something came; doubled by each failure. */
const baseRetryMs = 250;
const maxRetryMs = 30_000;
const maxAnswerBytes = 4_096;
/** What cannot be said for minutes is not said: it decides nothing here. */
const ackTries = 10;

/**
 * Follows the controller: one long answer, from which every bundle comes whole. When it ends another is asked for
 * within a quarter of a second, and after failures ever more rarely; until then the last bundle holds.
 */
export class BundleStream {
  readonly #options: BundleStreamOptions;
  readonly #keys: KeysAsked;
  #ca: string;
  #bundle: Bundle | undefined;
  /** What was sent last: nobody asks any more what became of the one before. */
  #last: BundleMessage | undefined;

  constructor(options: BundleStreamOptions) {
    this.#options = options;
    this.#ca = options.ca;
    this.#keys = new KeysAsked({
      ask: (provider) => this.#post('/v1/keys/refresh', { provider }),
      nowMs: () => performance.now(),
    });
    void this.#run();
  }

  /** Has a provider's keys fetched anew, at most once a minute. Returns all providers, or undefined when it was too soon. */
  async refreshKeys(provider: string): Promise<readonly ProviderKeys[] | undefined> {
    return (await this.#keys.refresh(provider)) ? this.#bundle?.providers : undefined;
  }

  // Never rejects.
  async #run(): Promise<void> {
    const { signal, onLost } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      const end = await this.#follow().catch((error: unknown) => ({
        heard: false,
        isOrderly: false,
        reason: error instanceof Error ? error.message : 'unknown',
      }));
      if (signal.aborted) return;
      onLost({ reason: end.reason, isOrderly: end.isOrderly });
      failures = end.heard ? 0 : failures + 1;
      await pause(failures, signal);
    }
  }

  /** Takes what comes until there is nothing more. Returns whether the controller was heard, and why it is over. */
  async #follow(): Promise<Lost & { readonly heard: boolean }> {
    const response = await this.#ask('GET', '/v1/bundle');
    if (response.statusCode !== 200) throw new Error(await reasonOf(response));
    const watchdog = new Watchdog(response);
    let heard = false;
    const lines = new BoundedLines(maxLineBytes);
    try {
      for await (const piece of response as AsyncIterable<Buffer>) {
        watchdog.heard();
        for (const line of lines.take(piece)) heard = this.#read(line) || heard;
      }
      return { heard, isOrderly: heard, reason: 'the controller ended the stream' };
    } catch (error) {
      const message = error instanceof Error ? error.message : 'unknown';
      const reason = watchdog.silent ? 'the controller was silent' : message;
      return { heard, isOrderly: false, reason };
    } finally {
      watchdog.stop();
      response.destroy();
    }
  }

  /** Says whether the line was one that can be read. */
  #read(line: string): boolean {
    const read = readStreamLine(line);
    if (read.kind === 'unknown') return false; // of a newer controller
    if (read.kind === 'malformed') throw new Error('the controller sent a line that says nothing');
    const { message } = read;
    this.#options.onHeard();
    if (message.type === 'kill') this.#options.onKill(message.session);
    if (message.type === 'bundle') this.#take(message);
    return true;
  }

  #take(message: BundleMessage): void {
    this.#last = message;
    const judged = judgeBundle(message);
    if (judged.bundle) {
      this.#ca = message.authorities.controller;
      this.#bundle = judged.bundle;
      this.#keys.came();
      this.#options.onBundle(judged.bundle, message);
    } else this.#options.onRefused(judged.problems);
    const ack: BundleAck = {
      revision: message.revision,
      accepted: judged.bundle !== undefined,
      problems: judged.problems ?? [],
    };
    void this.#acknowledge(message, ack); // never rejects
  }

  /** Says what became of a bundle until somebody takes it: a replica that has not sent it does not. */
  async #acknowledge(message: BundleMessage, ack: BundleAck): Promise<void> {
    const { signal } = this.#options;
    for (
      let tries = 1;
      tries <= ackTries && this.#last === message && !signal.aborted;
      tries += 1
    ) {
      if (await this.#post('/v1/bundle/ack', ack).catch(() => false)) return;
      await pause(tries, signal);
    }
  }

  async #post(path: string, body: object): Promise<boolean> {
    const response = await this.#ask('POST', path, JSON.stringify(body));
    response.resume();
    return response.statusCode !== undefined && response.statusCode < 300;
  }

  async #ask(method: 'GET' | 'POST', path: string, body?: string): Promise<IncomingMessage> {
    const { url, addresses, tokenFile, signal } = this.#options;
    const token = (await readFile(tokenFile, 'utf8')).trim();
    const headers = {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }), // prettier-ignore
    };
    return new Promise((done, fail) => {
      const lookup = lookupAmong(addresses);
      const options = { method, headers, lookup, ca: this.#ca, agent: false, signal } as const;
      const outgoing = request(new URL(path, url), options, (response) => {
        clearTimeout(timer);
        done(response);
      });
      const timer = setTimeout(() => outgoing.destroy(new Error('the controller did not answer in time')), answerMs); // prettier-ignore
      outgoing.on('socket', (socket) => socket.setKeepAlive(true, keepAliveMs));
      outgoing.on('error', (error) => {
        clearTimeout(timer);
        fail(error);
      });
      outgoing.end(body);
    });
  }
}

/** Waits, ever longer after failures, and not at the same moments as others do. */
async function pause(failures: number, signal: AbortSignal): Promise<void> {
  const most = Math.min(maxRetryMs, baseRetryMs * 2 ** failures);
  await delay(most * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
}

/** Ends a response on which nothing comes any more. */
class Watchdog {
  readonly #response: IncomingMessage;
  #timer: NodeJS.Timeout | undefined;
  silent = false;

  constructor(response: IncomingMessage) {
    this.#response = response;
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.silent = true;
      this.#response.destroy();
    }, silenceMs).unref(); // the connection keeps the process, as long as there is one
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** What a controller that refuses says of it: its own words, as far as they are short and come in time. */
async function reasonOf(response: IncomingMessage): Promise<string> {
  let text = '';
  const timer = setTimeout(() => response.destroy(), answerMs);
  response.once('close', () => clearTimeout(timer));
  for await (const piece of response as AsyncIterable<Buffer>) {
    text += piece.toString('utf8');
    if (text.length > maxAnswerBytes) break;
  }
  return `the controller answered ${response.statusCode}: ${text.slice(0, maxAnswerBytes)}`;
}
