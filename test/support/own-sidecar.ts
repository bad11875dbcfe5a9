import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';
import { paths } from '../../webhook/names.ts';
import { buildOwnParts } from '../../webhook/own-parts.ts';
import { injectOptions } from './pods.ts';
import { until } from './until.ts';

/** The sidecar as the webhook has a pod start it, in explicit mode, with directories of its own for a pod's volumes. */
export interface OwnSidecar extends AsyncDisposable {
  /** Of its first backend. */
  readonly port: number;
  /** What its agents are to trust. */
  readonly trust: string;
  readonly process: ChildProcess;
  readonly log: string;
  /** Status of `/readyz`; 0 while nobody answers. */
  readiness(): Promise<number>;
  /** Starts it again, as the kubelet does with a container that has ended: volumes stay. */
  restart(signal: NodeJS.Signals): Promise<void>;
}

export interface OwnSidecarOptions {
  readonly controller: { readonly url: URL; readonly ca: string };
  readonly collector: { readonly url: string; readonly ca: string };
}

const fields: Readonly<Record<string, string>> = {
  CHAPERONE_POD_NAME: 'agent-0',
  CHAPERONE_POD_NAMESPACE: 'agents',
  CHAPERONE_POD_UID: '6f1c0d0e-0000-4000-8000-000000000000',
  CHAPERONE_SERVICE_ACCOUNT: 'agent',
};

export async function startOwnSidecar({
  controller,
  collector,
}: OwnSidecarOptions): Promise<OwnSidecar> {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-own-sidecar-'));
  for (const path of [paths.tokens, paths.spool, paths.memory, paths.trust])
    mkdirSync(join(home, path), { recursive: true, mode: 0o700 });
  for (const audience of ['controller', 'collector'])
    writeFileSync(join(home, paths.tokens, audience), `token for the ${audience}\n`);
  const [port, healthPort] = [await freePort(), await freePort()];
  const options = { ...injectOptions, spoolMaxBytes: 64 * 1024 ** 2, controller: { ...controller, addresses, url: controller.url.href }, collector: { ...collector, addresses } }; // prettier-ignore
  const { containers } = buildOwnParts(options, 'explicit', { uid: 1_234_567_890, openPorts: [] });
  const written = (containers[0]?.env ?? []).map(({ name, value = '' }): [string, string] => {
    const isPath = Object.values(paths).some((path) => value.startsWith(path));
    return [name, fields[name] ?? (isPath ? join(home, value) : value)];
  });
  const env = {
    ...Object.fromEntries(written),
    CHAPERONE_METRICS_LISTEN: `127.0.0.1:${healthPort}`,
    CHAPERONE_LISTEN_PORT: String(port),
    // What Kubernetes adds in a namespace that has such a Service.
    CHAPERONE_CONTROLLER_SERVICE_HOST: '10.96.0.8',
    CHAPERONE_CONTROLLER_PORT: 'tcp://10.96.0.8:443',
    CHAPERONE_TRANSPARENT_PORT: 'tcp://10.96.0.9:443', // the name of a setting
  };
  let log = '';
  const start = (): ChildProcess => {
    const child = spawn(process.execPath, [join(projectDirectory, 'sidecar/main.ts')], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (log += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));
    return child;
  };
  let child = start();
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'close');
  };
  const sidecar: OwnSidecar = {
    port,
    trust: join(home, paths.trust),
    get process() {
      return child;
    },
    get log() {
      return log;
    },
    readiness: () =>
      fetch(`http://127.0.0.1:${healthPort}/readyz`).then(
        ({ status }) => status,
        () => 0, // it has not begun to listen
      ),
    restart: async (signal) => {
      await stop(signal);
      child = start();
      await ready(sidecar);
    },
    [Symbol.asyncDispose]: async () => {
      await stop('SIGKILL');
      rmSync(home, { recursive: true });
    },
  };
  return sidecar;
}

const addresses = ['127.0.0.1'];

/** Waits until it would let a pod's other containers start. */
export async function ready(sidecar: OwnSidecar): Promise<void> {
  await until('the sidecar is ready', async () => {
    if (sidecar.process.exitCode !== null) throw new Error(sidecar.log);
    return (await sidecar.readiness()) === 200;
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  server.close();
  await once(server, 'close');
  return port;
}
