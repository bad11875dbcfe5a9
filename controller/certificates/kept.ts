import { X509Certificate } from 'node:crypto';
import { isObject } from '#core/policy/fields.ts';
import type { ServerKeyPair } from '#core/control.ts';
import type { Certificates } from './plan.ts';

/** Servers that have an authority each: who holds one's key can stand in for that one alone. */
export const servers = ['webhook', 'controller', 'collector'] as const;

export type Server = (typeof servers)[number];

/** What is kept of one server, with the authorities it had before. */
export interface Kept extends Certificates {
  /** Authorities that nothing is signed with or trusted by any more, in PEM, until they expire: pods still name them. */
  readonly retired: readonly string[];
}

const nothing: Kept = {
  authority: undefined,
  next: undefined,
  previous: undefined,
  leaf: undefined,
  promotedMs: undefined,
  retired: [],
};

/** Returns all authorities of a server that have not expired, in PEM. */
export function issuedAuthorities({ authority, next, previous, retired }: Kept): string[] {
  return [authority?.cert, next?.cert, previous, ...retired].filter((pem) => pem !== undefined);
}

/** Returns certificates after a step with those retired that it took out of use. */
export function retire(before: Kept, after: Certificates, nowMs: number): Kept {
  const used = new Set(issuedAuthorities({ ...after, retired: [] }));
  const retired = issuedAuthorities(before).filter((pem) => !used.has(pem) && isAlive(pem, nowMs));
  return { ...after, retired: [...new Set(retired)] };
}

function isAlive(pem: string, nowMs: number): boolean {
  try {
    return Date.parse(new X509Certificate(pem).validTo) > nowMs;
  } catch {
    return false; // nobody can name what cannot be read
  }
}

/** Writes what is kept as it stands in the Secret. */
export function formatKept(kept: Kept): string {
  return JSON.stringify(kept);
}

/**
 * Reads what is kept; nothing, where the Secret is still empty. Undefined for what is something else: another release
 * may have written it, and beginning anew would cut off every sidecar.
 */
export function tryParseKept(text: string | undefined): Kept | undefined {
  if (text === undefined || text === '') return nothing;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the caller says so
  }
  if (!isObject(value)) return undefined;
  const { authority, next, leaf, previous, promotedMs, retired } = value;
  if (![authority, next, leaf].every((pair) => pair === undefined || isPair(pair)))
    return undefined;
  if (previous !== undefined && typeof previous !== 'string') return undefined;
  if (promotedMs !== undefined && typeof promotedMs !== 'number') return undefined;
  if (!Array.isArray(retired) || !retired.every((pem) => typeof pem === 'string')) return undefined;
  return {
    authority: isPair(authority) ? authority : undefined,
    next: isPair(next) ? next : undefined,
    leaf: isPair(leaf) ? leaf : undefined,
    previous,
    promotedMs,
    retired,
  };
}

function isPair(value: unknown): value is ServerKeyPair {
  return isObject(value) && typeof value['cert'] === 'string' && typeof value['key'] === 'string';
}
