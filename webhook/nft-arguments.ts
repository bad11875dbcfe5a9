import { maxOpenPorts, noPort } from '#core/interception/nft-rules.ts';
import { isSidecarUid } from './names.ts';

/** What the rules of a pod's network are told: who is let out, and which ports are open. */
export interface NftParameters {
  readonly uid: number;
  /** Ports on which the pod can be reached; sorted, each once. */
  readonly openPorts: readonly number[];
}

/** Finds in arguments what they were made of; undefined where they can be none of ours. */
export function tryParseNftArguments(args: readonly unknown[]): NftParameters | undefined {
  const [, uidText, , openText] = args;
  const uid = Number(/^uid=(\d{10})$/.exec(String(uidText))?.[1]);
  const list = /^open=\{ (\d{1,5}(?:, \d{1,5})*) \}$/.exec(String(openText))?.[1];
  if (!isSidecarUid(uid) || list === undefined) return undefined;
  const openPorts = list.split(', ').map(Number);
  if (openPorts.length > maxOpenPorts) return undefined;
  return { uid, openPorts: openPorts.filter((port) => port !== noPort) };
}
