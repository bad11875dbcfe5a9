import { isSidecarUid } from './names.ts';

/** What the rules of a pod's network are told: who is let out, and which ports are open. */
export interface NftParameters {
  readonly uid: number;
  /** Ports on which the pod can be reached; sorted, each once. */
  readonly openPorts: readonly number[];
}

/** Most ports that the rules of one pod open. */
export const maxOpenPorts = 256;

/** Nothing can listen there, and nft knows no empty set. */
const noPort = 0;

/** Returns the arguments with which nft puts the rules of a file in force for one pod. */
export function nftArguments(
  { uid, openPorts }: NftParameters,
  rulesFile: string,
): readonly string[] {
  const ports = openPorts.length > 0 ? openPorts : [noPort];
  return ['-D', `uid=${uid}`, '-D', `open={ ${ports.join(', ')} }`, '-f', rulesFile];
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
