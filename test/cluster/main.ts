import { spawnSync } from 'node:child_process';
import { build, down, loadImage, up } from './cluster.ts';
import { helm, kube, kubeconfigFile, kubectlCache, namespaceFile } from './places.ts';
import { provideWorkloads } from './workloads.ts';

const usage = `usage: npm run cluster -- COMMAND

  build                 install and compile what the cluster needs: once, ten to twenty minutes
  up                    start it; one that runs is left alone
  down                  stop it, and remove everything but what was compiled
  kubeconfig            print the path of the administrator's kubeconfig
  load-image ARCHIVE    give it an image, such as "npm run image" makes
  workloads             build the image of what tests run beside the product, and print the path of its archive
  exec COMMAND...       run a command in the node's network namespace
  kubectl ARGUMENT...   run the cluster's own kubectl
  helm ARGUMENT...      run the cluster's own helm
`;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Runs a program in this terminal, and ends as it did. */
function become(program: string, args: readonly string[]): number {
  const env = { ...process.env, KUBECONFIG: kubeconfigFile, KUBECACHEDIR: kubectlCache };
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', env });
  if (error) throw error;
  return status ?? 1;
}

async function main([command, ...args]: readonly string[]): Promise<number> {
  const [first] = args;
  switch (command) {
    case 'build':
      await build(say);
      return 0;
    case 'up': {
      const started = await up(say);
      say(started ? 'the cluster is up' : 'the cluster was up already');
      return 0;
    }
    case 'down':
      await down(say);
      return 0;
    case 'kubeconfig':
      process.stdout.write(`${kubeconfigFile}\n`);
      return 0;
    case 'load-image':
      if (first === undefined) break;
      process.stdout.write(loadImage(first));
      return 0;
    case 'workloads':
      process.stdout.write(`${provideWorkloads(say)}\n`);
      return 0;
    case 'exec':
      if (first === undefined) break;
      return become('nsenter', [`--net=${namespaceFile}`, '--', ...args]);
    case 'kubectl':
      return become(kube, ['kubectl', ...args]);
    case 'helm':
      return become(helm, args);
    case undefined:
    default:
      break;
  }
  process.stderr.write(usage);
  return 2;
}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  say(`cluster: ${error instanceof Error ? error.message : 'unknown error'}`);
  return 1;
});
