import { hash } from 'node:crypto';

/** Returns link_0 of a stream: SHA-256('chaperone/v1\n' ‖ stream), 32 bytes. */
export function firstLink(stream: string): Buffer {
  return hash('sha256', `chaperone/v1\n${stream}`, 'buffer');
}

/** Returns SHA-256 of a header's bytes, 32 bytes: what the chain binds, and what stands for a record left out. */
export function hashHeader(headerBytes: Buffer): Buffer {
  return hash('sha256', headerBytes, 'buffer');
}

/** Returns link_n = SHA-256(link_{n-1} ‖ SHA-256(header_n)), 32 bytes. */
export function nextLink(previous: Buffer, headerHash: Buffer): Buffer {
  previous.copy(both, 0);
  headerHash.copy(both, hashBytes);
  return hash('sha256', both, 'buffer');
}

const hashBytes = 32;
const both = Buffer.alloc(2 * hashBytes); // a chain is long: joining two hashes anew would cost as much as the hash
