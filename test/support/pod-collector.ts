import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TLSSocket } from 'node:tls';
import { createLocalCa, type LocalCa } from '../../cli/dev/certificates.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { makeCollectorKey } from '../../collector/key.ts';
import { batchOf } from './stream-author.ts';
import { until } from './until.ts';

type Line = Readonly<Record<string, unknown>>;

/** The files that a collector finds in its pod. */
export interface PodFiles extends Disposable {
  readonly ca: LocalCa;
  readonly path: (name: string) => string;
  readonly write: (name: string, text: string) => string;
  /** A certificate and its key, as the controller would replace them. */
  renew(): Promise<void>;
}

/** Lays out what a pod of the collector has mounted, but for the kubeconfig. */
export async function writePodFiles(databaseUrl: string): Promise<PodFiles> {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-pod-collector-'));
  const ca = await createLocalCa(Date.now());
  const path = (name: string): string => join(directory, name);
  const write = (name: string, text: string): string => {
    writeFileSync(path(name), text, { mode: 0o600 });
    return path(name);
  };
  const renew = async (): Promise<void> => {
    const { cert, key } = await ca.issue('chaperone-collector');
    write('tls.crt', cert);
    write('tls.key', key);
  };
  write('url', databaseUrl);
  write('key.pem', makeCollectorKey());
  await renew();
  return {
    ca,
    path,
    write,
    renew,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export interface PodAnswer {
  readonly status: number;
  /** Of a problem: its code. */
  readonly title: unknown;
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
  /** Serial number of the certificate that was shown. */
  readonly serial: string;
}

/** A collector as a pod runs it: no supervisor, everything in files, identities from the Kubernetes API. */
export class PodCollector implements AsyncDisposable {
  readonly lines: Line[] = [];
  readonly #files: PodFiles;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, files: PodFiles) {
    this.#child = child;
    this.#files = files;
    if (!child.stderr) throw new Error('its log goes nowhere');
    createInterface({ input: child.stderr }).on('line', (text) =>
      this.lines.push(text.startsWith('{') ? (JSON.parse(text) as Line) : { msg: text }),
    );
  }

  /** Starts it with the kubeconfig in a file, and waits until it uses its database. */
  static async start(
    files: PodFiles,
    kubeconfig: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<PodCollector> {
    const child = spawn(process.execPath, ['collector/main.ts'], {
      cwd: projectDirectory,
      stdio: ['ignore', 'inherit', 'pipe'],
      env: {
        KUBECONFIG: kubeconfig,
        CHAPERONE_LISTEN: '127.0.0.1:0',
        CHAPERONE_TLS_CERT_FILE: files.path('tls.crt'),
        CHAPERONE_TLS_KEY_FILE: files.path('tls.key'),
        CHAPERONE_DATABASE_URL_FILE: files.path('url'),
        CHAPERONE_COLLECTOR_KEY_FILE: files.path('key.pem'),
        ...env,
      },
    });
    const collector = new PodCollector(child, files);
    await until('the collector is ready', () => {
      if (child.exitCode !== null) throw new Error(JSON.stringify(collector.lines));
      return collector.isReady();
    });
    return collector;
  }

  async isReady(): Promise<boolean> {
    const url = this.#ready?.['metricsUrl'];
    return typeof url === 'string' && (await fetch(new URL('/readyz', url))).status === 200;
  }

  /** Sends frames with a token. */
  put(token: string, frames: readonly Buffer[]): Promise<PodAnswer> {
    const headers = {
      'content-type': 'application/vnd.chaperone.frames',
      'content-encoding': 'zstd',
    };
    return this.send('POST', '/v1/records', token, { headers, body: batchOf(...frames) });
  }

  /** Orders something with a token. */
  order(method: 'POST' | 'PUT', path: string, token: string, order: object): Promise<PodAnswer> {
    const headers = { 'content-type': 'application/json' };
    return this.send(method, path, token, { headers, body: Buffer.from(JSON.stringify(order)) });
  }

  send(
    method: string,
    path: string,
    token: string,
    { headers = {}, body }: { headers?: Record<string, string>; body?: Buffer } = {},
  ): Promise<PodAnswer> {
    const { port } = (this.#ready?.['address'] ?? {}) as { port?: number }; // of its log
    return new Promise((resolve, reject) => {
      const options = {
        method,
        agent: false,
        ca: this.#files.ca.certificate,
        headers: { authorization: `Bearer ${token}`, ...headers },
      };
      const outgoing = request(`https://127.0.0.1:${port}${path}`, options, (response) => {
        const serial = (response.socket as TLSSocket).getPeerCertificate().serialNumber;
        response.toArray().then((pieces: Buffer[]) => {
          const text = Buffer.concat(pieces).toString();
          const isJson = /json/.test(response.headers['content-type'] ?? '');
          const parsed = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
          resolve({
            status: response.statusCode ?? 0,
            title: parsed['title'],
            body: parsed,
            text,
            serial,
          });
        }, reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exit;
  }

  get #ready(): Line | undefined {
    return this.lines.find(({ msg }) => msg === 'ready');
  }
}
