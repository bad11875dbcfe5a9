import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '../../tools/cache.ts';

/** Where the cluster keeps things. */

const cache = join(cacheDirectory, 'cluster');

/** Names the network namespace and the host's end of the link into it: at most 15 characters. */
export const clusterName = 'chaperone-test';

export const namespaceFile = `/run/netns/${clusterName}`;

/** All that `up` makes, in directories of its own. */
export const state = join(cache, 'state');

/** Sockets and containerd's running state: the path of a socket has at most 107 characters, which a home may not leave. */
export const runDirectory = `/run/${clusterName}`;
export const containerdSocket = join(runDirectory, 'containerd.sock');

/** The kubeconfig of the cluster's administrator. */
export const kubeconfigFile = join(state, 'pki/admin.conf');

/** Where kubectl remembers what this cluster serves, rather than among the user's own clusters. */
export const kubectlCache = join(state, 'kubectl');

/** The Go module that the programs are compiled from. */
export const programSources = join(import.meta.dirname, 'kube');

export const kubernetesVersion = 'v1.34.4';
export const helmVersion = 'v3.19.5';

/** Programs of other sources have other directories, so that checkouts do not take each other's away. */
export const programs = join(cache, 'programs', hashOfSources());

export const kube = join(programs, 'kube');
export const helm = join(programs, 'helm');
export const pause = join(programs, 'pause');

function hashOfSources(): string {
  const hash = createHash('sha256').update(`${kubernetesVersion} ${helmVersion} ${process.arch}`);
  for (const file of ['go.mod', 'go.sum', 'main.go', 'pause/main.go'])
    hash.update(readFileSync(join(programSources, file)));
  return hash.digest('hex').slice(0, 16);
}
