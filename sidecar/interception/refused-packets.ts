import { readFileSync } from 'node:fs';

/** Counters of the kernel for the pod's network, as `/proc/net/snmp` and `/proc/net/snmp6` have them; empty without IPv6. */
export interface KernelCounters {
  readonly snmp: string;
  readonly snmp6: string;
}

/**
 * Counts what the rules of the pod have refused: what is neither TCP nor DNS. Who counts for nft has to have NET_ADMIN; but
 * each refusal is an ICMP message by which the pod tells itself, and those are counted for everybody. What a datagram to
 * a closed port of the pod itself brings about is one as well, and has a counter of its own.
 */
export function countRefused({ snmp, snmp6 }: KernelCounters): number {
  const v4 = valueOf(snmp, 'Icmp', 'OutDestUnreachs') - valueOf(snmp, 'Udp', 'NoPorts');
  const v6 = valueOf6(snmp6, 'Icmp6OutDestUnreachs') - valueOf6(snmp6, 'Udp6NoPorts');
  return Math.max(v4, 0) + Math.max(v6, 0);
}

/** One line has the names of a protocol's counters, and the next one their values. */
function valueOf(text: string, protocol: string, counter: string): number {
  const [names = [], values = []] = text
    .split('\n')
    .filter((line) => line.startsWith(`${protocol}: `))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf(counter)] ?? 0);
}

function valueOf6(text: string, counter: string): number {
  return Number(new RegExp(`^${counter}\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
}

/** Reads how much has been refused; the number never falls, though the counters are not read at one moment. */
export class RefusedPackets {
  #most = 0;
  #told = 0;

  /** In all, since the pod began. */
  get total(): number {
    this.#most = Math.max(this.#most, countRefused(readCounters()));
    return this.#most;
  }

  /** How many in all, and how many of them since this was last called. */
  takeNew(): { readonly total: number; readonly fresh: number } {
    const { total } = this;
    const fresh = total - this.#told;
    this.#told = total;
    return { total, fresh };
  }
}

function readCounters(): KernelCounters {
  return { snmp: tryRead('/proc/net/snmp'), snmp6: tryRead('/proc/net/snmp6') };
}

function tryRead(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // no such family here, or no such system: nothing was counted
  }
}
