import { networkInterfaces } from 'node:os';

/** Whether an address is this machine's own, so that nobody on a network can read what is sent there. */
export function isLoopback(address: string | undefined): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address ?? '');
}

/** Whether an address is one of this machine's, or pod's: what comes from there and arrives at loopback has been redirected. */
export function isOwnAddress(address: string | undefined): boolean {
  const plain = address?.replace(/^::ffff:/, '');
  return plain !== undefined && ownAddresses().includes(plain);
}

/** Addresses at which redirected connections arrive: 127.0.0.1, and ::1 where this machine has IPv6 at all. */
export function redirectedTo(): readonly string[] {
  return ownAddresses().includes('::1') ? ['127.0.0.1', '::1'] : ['127.0.0.1'];
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap(
    (all) => all?.map(({ address }) => address) ?? [],
  );
}
