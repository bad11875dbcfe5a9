import { X509Certificate } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BundleMessage } from '#core/bundle-message.ts';
import type { SidecarConfig } from './config.ts';

/** Certificates in PEM by which the controller and the collector are known. */
export type Authorities = BundleMessage['authorities'];

/** Beside the streams: no other container mounts the spool, and unlike memory it outlives a start of the node. */
const fileName = 'authorities.json';

/**
 * Returns the configuration with both servers known as the last bundle announced them. What the pod's environment says of
 * them is as old as the pod: a sidecar that is restarted in it may meet certificates of authorities that came later.
 */
export function withAnnounced(config: SidecarConfig): SidecarConfig {
  const { source } = config;
  if (source.kind !== 'controller') return config;
  const announced = tryRead(config.spoolDirectory);
  if (!announced) return config;
  const { controller, collector } = announced;
  return { ...config, source: { ...source, ca: controller }, collectorCa: { pem: collector } };
}

/** Keeps what a bundle has announced for the next process of this pod. @throws where the spool cannot be written. */
export function keepAnnounced(spoolDirectory: string, announced: Authorities): void {
  const file = join(spoolDirectory, fileName);
  const unfinished = `${file}.new`;
  writeFileSync(unfinished, JSON.stringify(announced), { mode: 0o600 });
  renameSync(unfinished, file);
}

function tryRead(spoolDirectory: string): Authorities | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(spoolDirectory, fileName), 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { controller, collector } = value as { controller?: unknown; collector?: unknown };
    if (typeof controller !== 'string' || typeof collector !== 'string') return undefined;
    for (const pem of [controller, collector]) void new X509Certificate(pem); // throws
    return { controller, collector };
  } catch {
    return undefined; // there is none yet, or a node that lost its power left half of one: what the pod says holds
  }
}
