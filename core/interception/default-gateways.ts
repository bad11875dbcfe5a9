/** Of <linux/route.h>, and of <linux/ipv6_route.h>, where they are the same. */
const up = 0x1;
const viaGateway = 0x2;

/**
 * Reads the gateways of default routes from Linux's `/proc/net/route`. Addresses there are numbers in the machine's byte
 * order, which is taken for little-endian. Lines that are no routes are passed over.
 */
export function readGatewaysV4(table: string): readonly string[] {
  const gateways = table.split('\n').flatMap((line) => {
    const [, destination, gateway = '', flags = '', , , , mask] = line.trim().split(/\s+/);
    if (destination !== '00000000' || mask !== '00000000') return [];
    if (!/^[0-9A-Fa-f]{8}$/.test(gateway) || !leadsToGateway(flags)) return [];
    return [Buffer.from(gateway, 'hex').reverse().join('.')];
  });
  return [...new Set(gateways)];
}

/** Reads the same from `/proc/net/ipv6_route`, where addresses are written as they are sent. */
export function readGatewaysV6(table: string): readonly string[] {
  const gateways = table.split('\n').flatMap((line) => {
    const [destination, bits, , , gateway = '', , , , flags = ''] = line.trim().split(/\s+/);
    if (destination !== '0'.repeat(32) || bits !== '00') return [];
    if (!/^[0-9A-Fa-f]{32}$/.test(gateway) || !leadsToGateway(flags)) return [];
    return [(gateway.match(/.{4}/g) ?? []).join(':')];
  });
  return [...new Set(gateways)];
}

function leadsToGateway(flags: string): boolean {
  const bits = Number.parseInt(flags, 16);
  return (bits & up) !== 0 && (bits & viaGateway) !== 0;
}
