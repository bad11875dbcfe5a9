import { networkInterfaces } from 'node:os';

/** Whether an address is this machine's own, so that nobody on a network can read what is sent there. */
export function isLoopback(address: string | undefined): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address ?? '');
}

/** Addresses at which redirected connections arrive: 127.0.0.1, and ::1 where this machine has IPv6 at all. */
export function redirectedTo(): readonly string[] {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address }) => address === '::1') ? ['127.0.0.1', '::1'] : ['127.0.0.1'];
}
