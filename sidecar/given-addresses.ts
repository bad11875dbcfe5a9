import { isIP, type LookupFunction } from 'node:net';

/**
 * Makes what a socket resolves a name with where its addresses are known beforehand. Nobody is asked: the hosts file and
 * resolv.conf of a pod are written by its author, and by an agent that is root. TLS goes on to check the name.
 */
export function lookupAmong(addresses: readonly string[]): LookupFunction {
  const known = addresses.map((address) => ({ address, family: isIP(address) }));
  return (hostname, { family, all }, callback) => {
    const wanted = known.filter((each) => !family || `${family}`.endsWith(`${each.family}`));
    const [first] = wanted;
    if (!first) callback(new Error(`${hostname} has no address of this family`), '', 0);
    else if (all === true) callback(null, wanted);
    else callback(null, first.address, first.family);
  };
}

/** Reads addresses, separated by commas; at least one. */
export function tryParseAddresses(text: string): readonly string[] | undefined {
  const addresses = text.split(',');
  return addresses.every((address) => isIP(address) !== 0) ? addresses : undefined;
}
