import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Frame } from '#core/record/frame.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import { startBackendServer, type BackendServer } from './backend-server.ts';
import { addresses, makePodNetwork, type Peer, type PodNetwork } from './pod-network.ts';
import { until } from './until.ts';

const { outside } = addresses;

/** Addresses that are the outside's as well. */
export const further = { service: '10.99.0.10', metadata: '169.254.169.254' } as const;

/** A pod's network with real servers outside: DNS, PostgreSQL, HTTP and what tests halves of connections. */
export interface PodWorld extends AsyncDisposable {
  readonly network: PodNetwork;
  readonly database: BackendServer;
  /** What has read to the end says how much there was. */
  readonly halves: Peer;
}

const records = [
  `--host-record=orders.example.com,${outside.v4},${outside.v6}`,
  `--host-record=pod-0.orders.example.com,${outside.v4}`,
  '--srv-host=_postgresql._tcp.orders.example.com,pod-0.orders.example.com,5432',
  '--txt-record=orders.example.com,secret',
  '--cname=db.agents.svc.cluster.test,orders.example.com',
  `--host-record=api.example.com,${outside.v4}`,
  `--host-record=only-v6.example.com,${outside.v6}`,
  '--txt-record=api.example.com,text',
  `--host-record=late.example.com,${further.service}`,
  `--host-record=rebound.example.com,${further.metadata}`,
  ...Array.from({ length: 90 }, (_, index) => `--host-record=many.example.com,10.98.0.${index}`),
];

function answers(network: PodNetwork): boolean {
  try {
    return network.run('outside', 'dig', '+short', '+tries=1', '+time=1', `@${outside.v4}`, 'api.example.com') !== '';
  } catch {
    return false; // dig ends with a status of its own when nobody answers yet
  }
} // prettier-ignore

export async function startPodWorld(): Promise<PodWorld> {
  const network = makePodNetwork();
  const peers: Peer[] = [];
  let names: ChildProcess | undefined;
  const database = await startBackendServer({ version: 18 });
  const stop = async (): Promise<void> => {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
    names?.kill('SIGKILL');
    if (names) await once(names, 'close');
    await database[Symbol.asyncDispose]();
    network[Symbol.dispose]();
  };
  try {
    for (const address of Object.values(further))
      network.run('outside', 'ip', 'addr', 'add', `${address}/32`, 'dev', 'eth0');
    const [command, ...enter] = network.at('outside');
    const options = ['--no-daemon', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root', '--bind-interfaces'];
    const own = ['--listen-address', outside.v4, '--local=/example.com/', '--local=/test/', '--local=/corp/'];
    names = spawn(command, [...enter, 'dnsmasq', ...options, ...own, ...records], { stdio: 'ignore' });
    await until('names are answered', () => answers(network));
    const socket = join(database.directory, `.s.PGSQL.${database.port}`);
    const everywhere = [outside.v4, outside.v6, further.metadata];
    const halves = await network.start('outside', 'halves', [outside.v4, 7_000]);
    peers.push(
      await network.start('outside', 'forward', [outside.v4, 5_432, socket]),
      await network.start('outside', 'http', [everywhere, 80]),
      halves,
      await network.start('outside', 'serve', ['outside', [outside.v4], [7_001]]),
    );
    return { network, database, halves, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
} // prettier-ignore

/** A session as it was recorded. */
export interface RecordedSession {
  readonly start: Extract<RecordHeader, { kind: 'session.start' }>;
  /** What names stood for the address. */
  readonly names: string;
  readonly records: readonly RecordHeader[];
}

/** Sessions in order of their beginning. */
export function sessionsIn(frames: readonly Frame[]): RecordedSession[] {
  return frames.flatMap(({ header, payload }) => {
    if (header.kind !== 'session.start') return [];
    const records = frames.map((frame) => frame.header).filter(({ session }) => session === header.session); // prettier-ignore
    return [{ start: header, names: String(payload), records }];
  });
}

/** Names that agents asked for and no Backend has, as `verdict type name attempts`. */
export function lookupsIn(frames: readonly Frame[]): string[] {
  return frames.flatMap(({ header, payload }) => {
    if (header.kind !== 'lookup') return [];
    const { name, type } = JSON.parse(String(payload)) as { name: string; type: string };
    return [`${header.verdict.action} ${type} ${name} ${header.attempts}`];
  });
}
