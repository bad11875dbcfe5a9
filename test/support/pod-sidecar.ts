import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Duplex } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { SidecarReport, SidecarSecrets } from '#core/control.ts';
import { parseFrames, type Frame } from '#core/record/frame.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { bundle } from '../../tools/bundle.ts';
import { addresses, ports, searchDomains, sidecarUid, type PodNetwork } from './pod-network.ts';
import { until } from './until.ts';

/** The sidecar as an image holds it, in a pod's network and under a uid of its own. */
export interface PodSidecar extends AsyncDisposable {
  readonly process: ChildProcess;
  readonly reports: readonly SidecarReport[];
  /** All that it has logged. */
  readonly log: string;
  /** Puts resources in force, in place of those before. */
  apply(...resources: readonly object[]): Promise<void>;
  /** What it has recorded; nothing is shipped. */
  frames(): readonly Frame[];
}

export async function startPodSidecar(
  network: PodNetwork,
  resources: readonly object[],
  credentials: SidecarSecrets['credentials'] = {},
): Promise<PodSidecar> {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-pod-'));
  chmodSync(home, 0o755);
  const program = await bundle('sidecar/main.ts', join(home, 'image'));
  const [config, spool, ca] = [join(home, 'config'), join(home, 'spool'), join(home, 'ca.crt')];
  mkdirSync(config);
  mkdirSync(spool, { mode: 0o700 });
  chownSync(spool, sidecarUid, sidecarUid);
  const authority = await createLocalCa(Date.now());
  writeFileSync(ca, authority.certificate);
  const write = (given: readonly object[]): void =>
    writeFileSync(join(config, 'resources.yaml'), given.map((each) => JSON.stringify(each)).join('\n---\n')); // prettier-ignore
  write(resources);
  const [command, ...enter] = network.at('root in the pod');
  // Node is started by root, who can read it wherever it lies, and gives that up before anything of the sidecar runs.
  const become = `data:text/javascript,process.setgid(${sidecarUid});process.setuid(${sidecarUid})`;
  const child = spawn(command, [...enter, process.execPath, '--import', become, program], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: {
      CHAPERONE_MODE: 'transparent',
      CHAPERONE_POD_NAME: 'agent-0',
      CHAPERONE_POD_NAMESPACE: 'agents',
      CHAPERONE_SERVICE_ACCOUNT: 'agent',
      CHAPERONE_CONFIG_DIR: config,
      CHAPERONE_SPOOL_DIR: spool,
      CHAPERONE_COLLECTOR_URL: 'https://127.0.0.1:9',
      CHAPERONE_COLLECTOR_CA_FILE: ca,
      CHAPERONE_TRANSPARENT_PORT: String(ports.proxyPort),
      CHAPERONE_TRANSPARENT_DNS_PORT: String(ports.dnsPort),
      CHAPERONE_TRANSPARENT_RESOLVER: `${addresses.outside.v4}:53`,
      CHAPERONE_TRANSPARENT_SEARCH_DOMAINS: searchDomains.join(','),
    },
  });
  let log = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (log += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
  const control = child.stdio[3] as Duplex; // asked for as a pipe
  const reports: SidecarReport[] = [];
  createInterface({ input: control }).on('line', (line) => reports.push(JSON.parse(line) as SidecarReport)); // prettier-ignore
  const secrets: SidecarSecrets = {
    type: 'secrets',
    tls: await authority.issue('sidecar'),
    ingestToken: 'token',
    credentials,
  };
  control.write(`${JSON.stringify(secrets)}\n`);
  const accepted = (): number => reports.filter(({ type }) => type === 'bundle-accepted').length;
  const settled = (count: number): Promise<boolean> =>
    until('the resources are in force', () => {
      const wrong = reports.find(({ type }) => type === 'failed' || type === 'bundle-refused');
      if (wrong || child.exitCode !== null) throw new Error(`${JSON.stringify(wrong)}\n${log}`);
      return accepted() >= count;
    });
  await settled(1);
  return {
    process: child,
    reports,
    get log() {
      return log;
    },
    apply: async (...given) => {
      const before = accepted();
      write(given);
      await settled(before + 1);
    },
    frames: () =>
      globSync(`${spool}/*/*.frames`).sort().flatMap((path) => [...parseFrames(readFileSync(path))]), // prettier-ignore
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'close');
      }
      rmSync(home, { recursive: true });
    },
  };
}
