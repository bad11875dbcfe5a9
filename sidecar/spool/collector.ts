import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { isHex } from '#core/record/checkpoint.ts';
import { lookupAmong } from '../given-addresses.ts';
import type { Acknowledgement } from '#core/record/acknowledgement.ts';

/** What the collector said of a stream; older ones do not sign it. */
export type Acknowledged = Omit<Acknowledgement, 'signature'> & {
  readonly signature: string | undefined;
};

/** What the collector answered to a batch. */
export type Answer =
  | { readonly kind: 'committed'; readonly acknowledged: Acknowledged }
  /** The batch did not verify: it is set aside, and the stream goes on behind it. */
  | { readonly kind: 'quarantined'; readonly acknowledged: Acknowledged }
  /** The collector has records up to `seq` and misses what comes after. */
  | { readonly kind: 'gap'; readonly seq: number }
  /** This batch will not be taken, however often it is sent. */
  | { readonly kind: 'refused'; readonly status: number }
  | {
      readonly kind: 'unavailable';
      /** 0 where there was no answer. */
      readonly status: number;
      readonly error: string | undefined;
    };

export interface CollectorOptions {
  readonly url: string;
  /** Where it is; undefined: its name is looked up. */
  readonly addresses: readonly string[] | undefined;
  /** PEM of the CA that signs its certificate. */
  readonly ca: string;
  readonly token: TokenSource;
}

/** A bearer token, or the file that holds it now: the kubelet replaces a pod's tokens. */
export type TokenSource = { readonly value: string } | { readonly file: string };

const answerTimeoutMs = 30_000;
const maxAnswerBytes = 65_536;

/** The way to the collector: one connection that is kept open. */
export class Collector {
  readonly #options: CollectorOptions;
  #agent: Agent;
  readonly #url: URL;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#agent = agentFor(options, options.ca);
    this.#url = new URL('/v1/records', options.url);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Knows the collector by these certificates from now on. What is under way goes to its end. */
  trust(ca: string): void {
    this.#agent = agentFor(this.#options, ca); // the one before loses its connection once that is idle
  }

  /** Sends a batch, compressed with zstd. */
  async post(body: Buffer, signal: AbortSignal): Promise<Answer> {
    try {
      const { status, text } = await this.#exchange(body, signal);
      switch (status) {
        case 200:
          return { kind: 'committed', acknowledged: parseAcknowledged(text) };
        case 202:
          return { kind: 'quarantined', acknowledged: parseAcknowledged(text) };
        case 409:
          return { kind: 'gap', seq: parseAckedSeq(text) };
        case 403:
        case 413:
        case 422:
          return { kind: 'refused', status };
        default:
          return { kind: 'unavailable', status, error: undefined };
      }
    } catch (error) {
      const { message } = error instanceof Error ? error : new Error('unknown');
      return { kind: 'unavailable', status: 0, error: message };
    }
  }

  #exchange(body: Buffer, signal: AbortSignal): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        this.#url,
        {
          method: 'POST',
          agent: this.#agent,
          timeout: answerTimeoutMs,
          signal,
          headers: {
            authorization: `Bearer ${tokenOf(this.#options.token)}`,
            'content-type': 'application/vnd.chaperone.frames',
            'content-encoding': 'zstd',
            'content-length': body.length,
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (piece: string) => {
            if (text.length < maxAnswerBytes) text += piece;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
          response.on('error', reject);
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
}

function agentFor({ addresses }: CollectorOptions, ca: string): Agent {
  const lookup = addresses && { lookup: lookupAmong(addresses) };
  return new Agent({ keepAlive: true, maxSockets: 1, timeout: 60_000, ca, ...lookup });
}

function tokenOf(source: TokenSource): string {
  return 'value' in source ? source.value : readFileSync(source.file, 'utf8').trim();
}

function parseAcknowledged(text: string): Acknowledged {
  const { stream, seq, link, signature } = parseObject(text);
  const known = link === undefined || link === null || isHex(link, 32);
  if (typeof stream !== 'string' || !isSeq(seq) || !known)
    throw new Error('an acknowledgement that says nothing');
  return {
    stream,
    seq,
    link: link ?? undefined,
    signature: typeof signature === 'string' ? signature : undefined,
  };
}

function parseAckedSeq(text: string): number {
  const { ackedSeq } = parseObject(text);
  if (!isSeq(ackedSeq)) throw new Error('a gap that does not say where it is');
  return ackedSeq;
}

function isSeq(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseObject(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error('an answer that is no object');
  return value as Record<string, unknown>; // its fields are checked by who asked
}
