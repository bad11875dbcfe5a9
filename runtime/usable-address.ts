import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Address } from './settings.ts';

/** Where to listen for an address: `::`, which is all of them, is all of IPv4 where the kernel knows no other. */
export async function usableAddress({ host, port }: Address): Promise<Address> {
  if (host !== '::') return { host, port };
  const trial = createServer();
  try {
    trial.listen(0, host);
    await once(trial, 'listening');
    return { host, port };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'EAFNOSUPPORT') throw error;
    return { host: '0.0.0.0', port };
  } finally {
    trial.close();
  }
}
