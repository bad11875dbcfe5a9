/** Ports of the sidecar that an agent's connections are led to. Listeners bind 127.0.0.1 and ::1 there. */
export interface ListenerPorts {
  /** All TCP but DNS. */
  readonly proxyPort: number;
  /** UDP and TCP to port 53. */
  readonly dnsPort: number;
}

/** Those that the image's rules name, and the sidecar listens on unless told otherwise. */
export const listenerPorts: ListenerPorts = { proxyPort: 15_001, dnsPort: 15_053 };

/** What differs from pod to pod. */
export interface PodInterception {
  /** Of the sidecar, and of nothing else in the pod: whatever runs under it is let out. Never 0. */
  readonly uid: number;
  /** On which others reach the pod; at most 256. */
  readonly openPorts: readonly number[];
}

/** Name of the table, of family `inet`, that holds all rules. */
export const nftTable = 'chaperone';

/** Set on connections of the sidecar: "CHAP". */
const mark = '0x43484150';

const maxUid = 0xffff_fffe; // the last one means "none"
/** Most ports that the rules of one pod open. */
export const maxOpenPorts = 256;
/** Nothing can listen there, and nft knows no empty set. */
export const noPort = 0;

/**
 * Writes the rules of a pod's network as one transaction for `nft -f`, with the variables `uid` and `open` for what
 * `nftArguments` says. Rerun in a live pod it replaces the rules of before in one step: chains stay hooked, and no packet
 * meets a chain without its rules.
 *
 * @throws RangeError for what is no port.
 */
export function buildNftRules({ proxyPort, dnsPort }: ListenerPorts): string {
  const [proxy, dns] = [checkedPort(proxyPort), checkedPort(dnsPort)];
  return `table inet ${nftTable} {
}
flush table inet ${nftTable}
table inet ${nftTable} {
  # Agents and the sidecar ask the same server, and may do so from the same port: without a zone of their own the kernel
  # would take a question of the one for part of what the other has asked, and lead it the same way.
  chain zones {
    type filter hook output priority -300; policy accept;
    oifname != "lo" meta skuid != $uid udp dport 53 ct zone set 1
    oifname "lo" udp sport ${dns} ct zone set 1
  }
  # Decides once a connection, by its first packet.
  chain diverted {
    type nat hook output priority -100; policy accept;
    meta skuid $uid accept
    oifname "lo" accept
    # No sets here: older kernels can miss their elements at the moment in which rules are replaced.
    udp dport 53 redirect to :${dns}
    tcp dport 53 redirect to :${dns}
    meta l4proto tcp redirect to :${proxy}
  }
  chain outgoing {
    type filter hook output priority filter; policy drop;
    meta skuid $uid ct mark set ${mark} accept
    oifname "lo" accept
    ct status dnat accept
    # Segments of sockets that are closed have no owner, and belong to the sidecar where the connection does. What has
    # another owner is an agent that took a port over while the connection was still remembered.
    ct mark ${mark} meta skuid != $uid reject with icmpx type admin-prohibited
    ct mark ${mark} accept
    ct direction reply accept
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
    reject with icmpx type admin-prohibited
  }
  # An agent that others can reach is a tunnel that nothing records.
  chain incoming {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct direction reply accept
    # ICMP and ICMPv6, by number: the image has no list of protocols that nft could look names up in.
    meta l4proto { 1, 58 } ct state related accept
    icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
    tcp dport $open accept
  }
  # What a container inside a container sends passes here, and not through the chains of output.
  chain forwarded {
    type filter hook forward priority filter; policy drop;
  }
}
`;
}

/**
 * Returns the arguments with which nft puts the rules of a file in force for one pod.
 *
 * @throws RangeError for a uid, a port or a number of ports that cannot be.
 */
export function nftArguments(
  { uid, openPorts }: PodInterception,
  rulesFile: string,
): readonly string[] {
  // 0 would let out every agent that runs as root.
  if (!Number.isInteger(uid) || uid < 1 || uid > maxUid) throw new RangeError(`${uid} is no uid`);
  const open = [...new Set(openPorts)].map(checkedPort);
  if (open.length > maxOpenPorts) throw new RangeError(`${open.length} ports are too many`);
  const ports = (open.length > 0 ? open : [noPort]).toSorted((a, b) => a - b).join(', ');
  return ['-D', `uid=${uid}`, '-D', `open={ ${ports} }`, '-f', rulesFile];
}

function checkedPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new RangeError(`${port} is no port`);
  return port;
}
