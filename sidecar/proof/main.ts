import { sentinels } from '#core/interception/sentinel.ts';
import { meetSidecar } from './meet-sidecar.ts';

/**
 * Proves, before anything of the agent starts, that what it dials is led to the sidecar. It runs in a container of its
 * own, as a user who is not the sidecar's: what lets the sidecar out must not let this out.
 */

const waitMs = 10_000;

async function main(): Promise<number> {
  const met = await Promise.all(sentinels.map((sentinel) => meetSidecar(sentinel, waitMs)));
  const wrong = met.flatMap((each, index) =>
    each.kind === 'nobody' ? [`${sentinels[index]?.host}: ${each.reason}`] : [],
  );
  if (wrong.length === 0 && met.some(({ kind }) => kind === 'sidecar')) {
    process.stdout.write('connections are led to the sidecar\n');
    return 0;
  }
  const why = wrong.length > 0 ? wrong.join('; ') : 'the pod has a route to no address at all';
  process.stderr.write(
    `chaperone proof: connections are not led to the sidecar (${why}): look at the log of chaperone-nft, and whether the ` +
      `node's kernel has nf_tables with NAT for IPv4 and IPv6\n`,
  );
  return 1;
}

void main().then((code) => (process.exitCode = code));
