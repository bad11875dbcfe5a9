import type { ServerAddresses } from '../../webhook/own-service.ts';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ServerKeyPair } from '#core/control.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { issueCertificate } from '../../runtime/certificates.ts';
import { readConfig } from '../../webhook/config.ts';
import type { InjectOptions } from '../../webhook/inject.ts';
import { SidecarOptions } from '../../webhook/sidecar-options.ts';
import { addresses } from '../cluster/addresses.ts';

/** Nobody is there: what is injected here runs nowhere. */
export const serverAddresses: ServerAddresses = {
  controller: ['10.250.0.20'],
  collector: ['10.250.0.21'],
};

/** The webhook, where the API server of this machine's cluster reaches it. */
export interface WebhookProcess extends AsyncDisposable {
  readonly url: string;
  /** What it makes injected containers of, as the code in this process reads it from the same environment. */
  readonly options: InjectOptions;
}

/** Issues a certificate for a server that the API server of this machine's cluster dials. */
export function issueForHost(authority: ServerKeyPair): Promise<ServerKeyPair> {
  return issueCertificate({
    authority,
    commonName: 'webhook',
    names: [addresses.host.v4],
    nowMs: Date.now(),
    lifetimeMs: 3_600_000,
  });
}

/** Starts the webhook from its source, at the host's end of the link into the cluster. */
export async function startWebhook(
  kubeconfig: string,
  authority: ServerKeyPair,
): Promise<WebhookProcess> {
  const directory = mkdtempSync(join(tmpdir(), 'webhook-'));
  const write = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const { cert, key } = await issueForHost(authority);
  const environment = {
    CHAPERONE_LISTEN: `${addresses.host.v4}:0`,
    CHAPERONE_TLS_CERT_FILE: write('tls.crt', cert),
    CHAPERONE_TLS_KEY_FILE: write('tls.key', key),
    CHAPERONE_DRAIN_SECONDS: '0',
    CHAPERONE_IMAGE: 'registry.example/chaperone:1',
    CHAPERONE_CONTROLLER_URL: `https://${serverAddresses.controller.join('')}/`,
    CHAPERONE_CONTROLLER_CA_FILE: write('ca.crt', authority.cert),
    CHAPERONE_COLLECTOR_URL: `https://${serverAddresses.collector.join('')}/`,
    CHAPERONE_COLLECTOR_CA_FILE: join(directory, 'ca.crt'),
    // Not as the API server spells amounts.
    CHAPERONE_SIDECAR_RESOURCES:
      '{"requests":{"cpu":"0.02","memory":"98304Ki"},"limits":{"cpu":"2000m","memory":"0.25Gi"}}',
  };
  const child = spawn(process.execPath, ['webhook/main.ts'], {
    cwd: projectDirectory,
    stdio: ['ignore', 'inherit', 'pipe'],
    env: { KUBECONFIG: kubeconfig, ...environment },
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill();
      await exit;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const lines = createInterface({ input: child.stderr });
    const [line] = (await once(lines, 'line')) as [string];
    const { msg, address } = JSON.parse(line) as { msg: string; address: { port: number } };
    if (msg !== 'ready') throw new Error(line);
    lines.on('line', () => undefined); // or it would stand still once the pipe is full
    return {
      url: `https://${addresses.host.v4}:${address.port}/v1/pods`,
      options: new SidecarOptions(readConfig(environment)).withAddresses(serverAddresses),
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
