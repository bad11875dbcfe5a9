import { readFileSync } from 'node:fs';

/** Counters of the kernel for the pod's network, as `/proc/net/snmp` and `/proc/net/snmp6` have them; empty without IPv6. */
export interface KernelCounters {
  readonly snmp: string;
  readonly snmp6: string;
}

/** What the kernel has counted of one family of addresses since the pod's network began. */
interface Counted {
  /** ICMP messages that say that something cannot be reached. */
  readonly unreachable: number;
  /** Datagrams to closed ports of the pod itself: each brings such a message about as well, unless there were many. */
  readonly closed: number;
}

const nothing: Counted = { unreachable: 0, closed: 0 };

/** Adds up, from one reading to the next, what was unreachable but for closed ports. */
class Refusals {
  #last = nothing;
  #owed = 0;
  #total = 0;

  /**
   * Datagrams to closed ports without a message make up for refusals of the same reading, and of the next, since the
   * counters are not read at one moment. Nobody can save them up to hide what comes later.
   */
  add(counted: Counted): number {
    const closed = counted.closed - this.#last.closed;
    const fresh = counted.unreachable - this.#last.unreachable - closed;
    this.#total += Math.max(fresh - this.#owed, 0);
    this.#owed = Math.max(-fresh, 0);
    this.#last = counted;
    return this.#total;
  }
}

/**
 * Counts what the rules of the pod refuse: what is neither TCP nor DNS. Who counts for nft has to have NET_ADMIN; but
 * a refusal is an ICMP message by which the pod tells itself, and those are counted for everybody. The kernel tells
 * nothing of multicast, and limits how much it tells; and it tells so as well that a neighbour does not answer.
 */
export class RefusedPackets {
  readonly #read: () => KernelCounters;
  readonly #v4 = new Refusals();
  readonly #v6 = new Refusals();
  #told = 0;

  constructor(read: () => KernelCounters = readCounters) {
    this.#read = read;
  }

  /** In all, since the pod's network began; never falls. */
  get total(): number {
    const { snmp, snmp6 } = this.#read();
    const v4 = { unreachable: valueOf(snmp, 'Icmp', 'OutDestUnreachs'), closed: valueOf(snmp, 'Udp', 'NoPorts') }; // prettier-ignore
    const v6 = { unreachable: valueOf6(snmp6, 'Icmp6OutDestUnreachs'), closed: valueOf6(snmp6, 'Udp6NoPorts') }; // prettier-ignore
    return this.#v4.add(v4) + this.#v6.add(v6);
  }

  /** How many in all, where there are more than when this was last called. */
  takeNew(): number | undefined {
    const { total } = this;
    if (total <= this.#told) return undefined;
    this.#told = total;
    return total;
  }

  /** Has `takeNew()` tell again what it told: nobody has heard it. */
  tellAgain(): void {
    this.#told = 0;
  }
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
