import { run } from '../../tools/run.ts';

const table = 'chaperone_test_silence';

/**
 * Has every connection that processes have to the API server fall silent, without its being closed: what comes and goes
 * over it is dropped in the network of their pod. Those opened afterwards work. Ends with that at its disposal.
 */
export function silenceApiServer(pids: readonly number[]): Disposable {
  const inNetworkOf = (pid: number, command: readonly string[], input = ''): string =>
    run('nsenter', [`--net=/proc/${pid}/ns/net`, '--', ...command], { input });
  for (const pid of pids) {
    const open = inNetworkOf(pid, ['ss', '--no-header', '--tcp', '--numeric', 'state', 'established', 'dport', '=', ':443']); // prettier-ignore
    const ports = Array.from(open.matchAll(/:(\d+)\s+\S+:443\s*$/gm), ([, port]) => port).join();
    if (ports === '') throw new Error(`${pid} has no connection to the API server`);
    const rules = `table inet ${table} {
      chain in {
        type filter hook input priority 0
        tcp sport 443 tcp dport { ${ports} } drop
      }
      chain out {
        type filter hook output priority 0
        tcp dport 443 tcp sport { ${ports} } drop
      }
    }`;
    inNetworkOf(pid, ['nft', '-f', '-'], rules);
  }
  return {
    [Symbol.dispose]: () => {
      for (const pid of pids) inNetworkOf(pid, ['nft', 'delete', 'table', 'inet', table]);
    },
  };
}
