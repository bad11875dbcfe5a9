import { SocketAddress, type Socket } from 'node:net';
import { ChaperoneError } from '#core/errors.ts';
import type { Address } from '../../runtime/settings.ts';
import { isLoopback } from '../loopback.ts';

/**
 * Says where an agent dialled before the rules of its pod led the connection here. Undefined for one that nothing led
 * here, such as a connection to the listener itself. Addresses are in canonical form.
 */
export type OriginalDestination = (socket: Socket) => Address | undefined;

// <linux/netfilter_ipv4.h>, <linux/netfilter_ipv6/ip6_tables.h>, <bits/in.h>: both options have the same number.
const solIp = 0;
const solIpv6 = 41;
const originalDst = 80;

const families = { v4: 2, v6: 10 };
const sockaddrBytes = { v4: 16, v6: 28 };

/**
 * Loads what asks the kernel, for which Node has no call of its own.
 *
 * @throws ChaperoneError `config-invalid` where this system has no such thing.
 */
export async function loadOriginalDestination(): Promise<OriginalDestination> {
  if (process.platform !== 'linux')
    throw new ChaperoneError('config-invalid', 'transparent mode needs Linux');
  const { default: koffi } = await import('koffi'); // 9 MB that explicit mode does not need
  const getsockopt: (...args: readonly unknown[]) => number = koffi
    .load(null)
    .func('int getsockopt(int, int, int, _Out_ uint8_t *value, _Inout_ uint32_t *length)');
  return (socket) => {
    const fd = descriptorOf(socket);
    const version = socket.localFamily === 'IPv6' ? 'v6' : 'v4';
    const value = Buffer.alloc(sockaddrBytes.v6);
    const level = version === 'v6' ? solIpv6 : solIp;
    // ENOENT: the kernel remembers no redirect of this connection.
    if (getsockopt(fd, level, originalDst, value, [value.length]) !== 0) return undefined;
    const address = decodeSocketAddress(value);
    return address && !isLoopback(address.host) ? address : undefined;
  };
}

/** Reads a `sockaddr_in` or `sockaddr_in6` of this machine; undefined for any other. */
export function decodeSocketAddress(bytes: Buffer): Address | undefined {
  const family = bytes.length >= sockaddrBytes.v4 ? bytes.readUInt16LE(0) : 0;
  const port = family === 0 ? 0 : bytes.readUInt16BE(2);
  if (family === families.v4) return { host: bytes.subarray(4, 8).join('.'), port };
  if (family !== families.v6 || bytes.length < sockaddrBytes.v6) return undefined;
  const groups = bytes.subarray(8, 24).toString('hex').match(/.{4}/g) ?? [];
  return { host: new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address, port };
}

function descriptorOf(socket: Socket): number {
  // No documented way leads to the descriptor; what is here has been here since Node 0.10.
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } };
  return handle?.fd ?? -1;
}
