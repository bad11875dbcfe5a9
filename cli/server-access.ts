import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { ChaperoneError } from '#core/errors.ts';
import type { Instance } from './instance.ts';

/** A server of ours, and how a command reaches it. */
export interface ServerAccess {
  /** What it is called where something is wrong with it. */
  readonly name: 'collector' | 'controller';
  /** Its host is the name that its certificate has to have. */
  readonly url: string;
  /** Authorities that it is trusted by, in PEM. */
  readonly ca: string;
  /** Opens a way to it. Undefined: one dials the host of its URL. */
  readonly dial?: () => Promise<Duplex>;
}

/** The collector, and who reads there. */
export interface CollectorAccess extends ServerAccess {
  readonly readToken: string;
  /** Asked for at each order, by those alone who give any. */
  readonly operatorToken: () => string;
}

/** The collector of an instance on this machine. */
export function localCollector({ collector }: Instance): CollectorAccess {
  const read = (file: string): string => readFileSync(file, 'utf8').trim();
  return {
    name: 'collector',
    url: collector.url,
    ca: readFileSync(collector.caFile, 'utf8'),
    readToken: read(collector.readTokenFile),
    operatorToken: () => read(collector.operatorTokenFile),
  };
}

export interface Asked {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly token: string;
  readonly body?: object;
  /** How long an answer may take to begin, and stand still; one to a request with a body takes what it takes. */
  readonly timeoutMs: number;
}

/**
 * Asks a server of ours over HTTPS with its authority pinned, and returns the answer where it is a good one.
 * @throws ChaperoneError `config-invalid` with what the server says.
 */
export async function askServer(
  { name, url, ca, dial }: ServerAccess,
  { method, path, token, body, timeoutMs }: Asked,
): Promise<IncomingMessage> {
  const target = new URL(path, url);
  const way = dial && {
    createConnection: (
      _options: unknown,
      done: (error: Error | null, socket: Duplex) => void,
    ): undefined => {
      overTls(dial, target.hostname, ca, done);
    },
  };
  const outgoing = request(target, {
    method,
    ca,
    timeout: timeoutMs,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    ...way,
  });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve);
    outgoing.on('timeout', () => outgoing.destroy(timedOut()));
    outgoing.on('error', reject);
    if (body) outgoing.on('finish', () => outgoing.setTimeout(0));
    outgoing.end(body ? JSON.stringify(body) : undefined);
  }).catch((cause: unknown) => {
    const what =
      body && outgoing.writableFinished
        ? 'has the order and broke off before it answered: it may be carried out all the same; give it again to see'
        : 'does not answer';
    throw new ChaperoneError('config-invalid', `the ${name} at ${url} ${what}`, { cause });
  });
  const { statusCode = 0 } = response;
  if (statusCode >= 200 && statusCode < 300) return response;
  throw new ChaperoneError('config-invalid', detailOf(name, await textOf(response)));
}

/** The whole body of an answer. */
export async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) text += String(piece);
  return text;
}

function overTls(
  dial: () => Promise<Duplex>,
  servername: string,
  ca: string,
  done: (error: Error | null, socket: Duplex) => void,
): void {
  const given = (error: Error): void => done(error, undefined as unknown as Duplex); // with an error nobody looks at it
  dial().then((socket) => {
    const secured = connect({ socket, servername, ca, ALPNProtocols: ['http/1.1'] });
    secured.on('error', given); // also later ones, of which the request hears itself: only the first call counts
    secured.once('secureConnect', () => done(null, secured));
  }, given);
}

function timedOut(): Error {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}

function detailOf(name: string, text: string): string {
  try {
    const problem: unknown = JSON.parse(text);
    const detail: unknown =
      typeof problem === 'object' && problem !== null ? Reflect.get(problem, 'detail') : undefined;
    return `the ${name} says: ${String(detail)}`;
  } catch {
    return `the ${name} gave an answer that cannot be read`;
  }
}
