import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  buildNftRules,
  listenerPorts,
  nftArguments,
  type PodInterception,
} from '#core/interception/nft-rules.ts';
import { projectDirectory } from '../../cli/instance.ts';

/** Why a test cannot have network namespaces, in the words of the test runner. */
export const withoutNamespaces =
  process.platform !== 'linux'
    ? 'network namespaces are of Linux'
    : process.getuid?.() !== 0
      ? 'only root can make network namespaces'
      : false;

export const sidecarUid = 1_234_567_890;
export const agentUid = 1_000;
export const ports = listenerPorts;

/** Of the pod, and of the machine outside that it has its way over. */
export const addresses = {
  pod: { v4: '10.99.0.2', v6: 'fd10:99::2' },
  outside: { v4: '10.99.0.1', v6: 'fd10:99::1' },
  /** Of the pod's default routes: the outside's as well. */
  gateway: { v4: '10.99.0.254', v6: 'fd10:99::fe' },
} as const;

/** Behind short names, as a pod's resolv.conf has them. */
export const searchDomains = ['agents.svc.cluster.test', 'svc.cluster.test', 'cluster.test'];

/** Who runs something: in the pod, where a number is the uid of another agent, or outside of it. */
export type Place = 'sidecar' | 'agent' | number | 'root in the pod' | 'outside';

/** A process that says what happens in lines of JSON. */
export interface Peer extends AsyncDisposable {
  readonly events: readonly Readonly<Record<string, unknown>>[];
  readonly process: ChildProcess;
}

/** Two network namespaces with a wire between them. */
export interface PodNetwork extends Disposable {
  /** The command and arguments that run something at a place. `caps` are capabilities that it keeps. */
  at(place: Place, caps?: string): readonly [command: string, ...args: string[]];
  /** Runs a program to its end and returns what it printed; fails when it does. */
  run(place: Place, command: string, ...args: readonly string[]): string;
  /** Does one thing with `peer.py`, and returns what came of it. */
  try(place: Place, what: string, args: readonly unknown[], caps?: string): Promise<unknown>;
  /** Starts one thing of `peer.py`, and waits until it listens. */
  start(place: Place, what: string, args: readonly unknown[]): Promise<Peer>;
  /** Puts the rules in force, as the init container does. */
  applyRules(pod?: Partial<PodInterception>): void;
}

let networks = 0;

export function makePodNetwork(): PodNetwork {
  networks += 1;
  const pod = `chaperone-pod-${process.pid}-${networks}`;
  const outside = `chaperone-out-${process.pid}-${networks}`;
  const files = mkdtempSync(join(tmpdir(), 'chaperone-network-'));
  chmodSync(files, 0o755);
  const rules = join(files, 'rules.nft');
  const resolvConf = join(files, 'resolv.conf');
  writeFileSync(
    resolvConf,
    `nameserver ${addresses.outside.v4}\nsearch ${searchDomains.join(' ')}\noptions ndots:5 timeout:2\n`,
  );
  writeFileSync(rules, buildNftRules(ports));
  const ip = (...args: readonly string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });
  for (const name of [pod, outside]) {
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }
  ip('link', 'add', 'eth0', 'netns', pod, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside);
  for (const name of [pod, outside]) ip('-n', name, 'link', 'set', 'eth0', 'up');
  const owned = [[pod, addresses.pod], [outside, addresses.outside], [outside, addresses.gateway]] as const; // prettier-ignore
  for (const [name, own] of owned) {
    ip('-n', name, 'addr', 'add', `${own.v4}/24`, 'dev', 'eth0');
    ip('-n', name, 'addr', 'add', `${own.v6}/64`, 'dev', 'eth0', 'nodad');
  }
  ip('-n', pod, 'route', 'add', 'default', 'via', addresses.gateway.v4);
  ip('-n', pod, 'route', 'add', 'default', 'via', addresses.gateway.v6);

  const network: PodNetwork = {
    at: (place, caps) => {
      const name = place === 'outside' ? outside : pod;
      const enter = ['nsenter', `--net=/run/netns/${name}`] as const;
      if (place === 'outside' || place === 'root in the pod') return enter;
      const uid = place === 'sidecar' ? sidecarUid : place === 'agent' ? agentUid : place;
      const kept = caps === undefined ? [] : [`--inh-caps=+${caps}`, `--ambient-caps=+${caps}`];
      const enterFiles = ['unshare', '--mount', 'sh', '-c', `mount --bind ${resolvConf} /etc/resolv.conf && exec "$@"`, 'sh'] as const; // prettier-ignore
      // A group that is called like the sidecar's user gives an agent nothing.
      return [
        ...enter,
        ...enterFiles,
        'setpriv',
        `--reuid=${uid}`,
        `--regid=${sidecarUid}`,
        '--clear-groups',
        ...kept,
      ];
    },
    run: (place, command, ...args) => {
      const [enter, ...rest] = network.at(place);
      return execFileSync(enter, [...rest, command, ...args], { encoding: 'utf8', stdio: 'pipe' });
    },
    try: async (place, what, args, caps) => {
      await using peer = startPeer(network.at(place, caps), what, args);
      await once(peer.process, 'close');
      const [said] = peer.events;
      if (!said) throw new Error(`"${what}" has said nothing`);
      return said['outcome'];
    },
    start: async (place, what, args) => {
      const peer = startPeer(network.at(place), what, args);
      await peer.begun;
      return peer;
    },
    applyRules: (given = {}) => {
      const interception = { uid: sidecarUid, openPorts: [], ...given };
      network.run('root in the pod', 'nft', ...nftArguments(interception, rules));
    },
    [Symbol.dispose]: () => {
      for (const name of [pod, outside])
        if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
      rmSync(files, { recursive: true });
    },
  };
  return network;
}

/** Debian's own, which everybody can read. */
const python = '/usr/bin/python3';

function startPeer(
  [command, ...enter]: readonly [string, ...string[]],
  what: string,
  args: readonly unknown[],
): Peer & { readonly begun: Promise<void> } {
  const program = readFileSync(join(projectDirectory, 'test/interception/peer.py'), 'utf8');
  // The program comes as an argument: whoever runs it need not be able to read the project.
  const child = spawn(command, [...enter, python, '-c', program, what, JSON.stringify(args)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const events: Readonly<Record<string, unknown>>[] = [];
  const begun = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (event['event'] === 'listening') begun.resolve();
    else events.push(event);
  });
  child.once('close', () => begun.reject(new Error(`"${what}" has ended`)));
  begun.promise.catch(() => undefined); // whoever waits for it is told
  return {
    events,
    process: child,
    begun: begun.promise,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'close');
    },
  };
}
