import type { Pod } from './pod.ts';
import { refuse, type Refusal } from './refusals.ts';

/**
 * Refuses lines for the pod's hosts file that are about servers of ours. Sidecars go by addresses and read no such file;
 * who writes these means to lead records or policies astray.
 */
export function refuseHostAliases(
  { spec }: Pod,
  serverUrls: readonly string[],
): readonly Refusal[] {
  const ours = serverUrls.map((url) => new URL(url).hostname);
  const names = (spec.hostAliases ?? []).flatMap(({ hostnames }) => hostnames ?? []);
  return names
    .filter((name) => ours.some((host) => isName(name.toLowerCase(), host)))
    .map((name) =>
      refuse(
        'host-alias',
        `spec.hostAliases names ${JSON.stringify(name.slice(0, 253))}, a server of Chaperone: remove it`,
      ),
    );
}

/** With the cluster's domain behind it or without. */
function isName(name: string, host: string): boolean {
  return name === host || name.startsWith(`${host}.`);
}
