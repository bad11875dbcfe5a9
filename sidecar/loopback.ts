/** Whether an address is this machine's own, so that nobody on a network can read what is sent there. */
export function isLoopback(address: string | undefined): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address ?? '');
}
