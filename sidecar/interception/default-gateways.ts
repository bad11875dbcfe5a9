import { readFile } from 'node:fs/promises';
import { readGatewaysV4, readGatewaysV6 } from '#core/interception/default-gateways.ts';

/** Reads where the pod's way out leads over; nothing on a system that tells otherwise than Linux. */
export async function readDefaultGateways(): Promise<readonly string[]> {
  const [v4, v6] = await Promise.all(['/proc/net/route', '/proc/net/ipv6_route'].map(readTable));
  return [...readGatewaysV4(v4 ?? ''), ...readGatewaysV6(v6 ?? '')];
}

/** A kernel without IPv6 has no such file. */
async function readTable(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return ''; // then there are no such routes either
  }
}
