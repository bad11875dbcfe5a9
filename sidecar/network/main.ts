import { execFileSync } from 'node:child_process';
import { sentinels } from '#core/interception/sentinel.ts';
import { meetSidecar, type Met } from './meet-sidecar.ts';

/**
 * Puts the rules of a pod's network in force and proves, before anything of the agent starts, that what is dialled there is
 * led to the sidecar, and that the sidecar is ready. It runs in a container of its own, as a user who is not the
 * sidecar's: what lets the sidecar out must not let this out. Its arguments are the command that sets the rules; without
 * any it only proves.
 */

/** A sidecar that gets no bundle says why, and the kubelet tries again. */
const readyMs = 120_000;
/** Its process may have been started a moment ago, on a node that has a lot to do. */
const listenMs = 60_000;
/** Where others answer, or nobody, the rules lead elsewhere. */
const meetMs = 10_000;
const nftMs = 30_000;

async function main(command: readonly string[]): Promise<number> {
  const trouble = setRules(command) ?? whatIsWrong(await meetAll());
  if (trouble === undefined) {
    process.stdout.write('connections are led to the sidecar\n');
    return 0;
  }
  process.stderr.write(`chaperone network: ${trouble}\n`);
  return 1;
}

/** Says what is wrong if it fails. */
function setRules([program, ...args]: readonly string[]): string | undefined {
  if (program === undefined) return undefined;
  try {
    execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], timeout: nftMs });
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : 'unknown';
    return `the rules of the pod's network cannot be set (${why}): whether the node's kernel has nf_tables, and its runtime leaves NET_ADMIN and file capabilities`;
  }
}

function meetAll(): Promise<readonly Met[]> {
  return Promise.all(
    sentinels.map((sentinel) => meetSidecar(sentinel, { meetMs, listenMs, readyMs })),
  );
}

function whatIsWrong(met: readonly Met[]): string | undefined {
  const notReady = met.find((each) => each.kind === 'starting');
  if (notReady) return `the sidecar is not ready: ${notReady.reason}`;
  const wrong = met.flatMap((each, index) =>
    each.kind === 'nobody' || each.kind === 'refused'
      ? [`${sentinels[index]?.host}: ${each.reason}`]
      : [],
  );
  if (wrong.length === 0 && met.some(({ kind }) => kind === 'ready')) return undefined;
  const why = wrong.length > 0 ? wrong.join('; ') : 'the pod has a route to no address at all';
  return `connections are not led to the sidecar (${why}): look at the log of chaperone, and whether the node's kernel has nf_tables with NAT for IPv4 and IPv6`;
}

void main(process.argv.slice(2)).then((code) => (process.exitCode = code));
