import { X509Certificate } from 'node:crypto';
import type { ServerKeyPair } from '#core/control.ts';

/** How long certificates live, and when they are replaced, in milliseconds. */
export const lifetimes = {
  authority: 365 * 86_400_000,
  leaf: 30 * 86_400_000,
  /** An authority is followed by the next this long before its end. */
  authorityOverlap: 60 * 86_400_000,
  /** A leaf is replaced this long before its end. */
  leafRest: 10 * 86_400_000,
  /** How long the next authority is announced before anything is signed with it, and the last one trusted afterwards. */
  announcement: 86_400_000,
  /**
   * For how long what is trusted and shown has to have stood where clients find it before the next change: after a
   * time without a controller nobody has heard of what it had begun.
   */
  settling: 10 * 60_000,
} as const;

/** What is kept of one server, in a Secret that the controller alone reads; the leaf is copied into the server's. */
export interface Certificates {
  /** Signs the leaf. */
  readonly authority: ServerKeyPair | undefined;
  readonly next: ServerKeyPair | undefined;
  /** Trusted until the last server shows the new leaf; its key is gone. */
  readonly previous: string | undefined;
  readonly leaf: ServerKeyPair | undefined;
  /** When `authority` began to sign, in milliseconds since 1970; unknown of what an earlier release has made. */
  readonly promotedMs: number | undefined;
}

/** What is to be done now. After each step the plan is made anew, until it says to wait. */
export type RotationStep =
  /** There is no authority that could be gone on with: trust begins anew. */
  | { readonly kind: 'create-authority' }
  /** Make the next authority, which is trusted from now on and signs nothing yet. */
  | { readonly kind: 'announce-next' }
  /** The next authority takes over, and the leaf is signed anew. */
  | { readonly kind: 'promote-next' }
  | { readonly kind: 'issue-leaf' }
  | { readonly kind: 'forget-previous' }
  | { readonly kind: 'wait'; readonly untilMs: number };

/** What a plan is made for. Times are in milliseconds since 1970. */
export interface Circumstances {
  /** Those by which the server is dialled. */
  readonly names: readonly string[];
  /** Since when all of it stands where clients and servers find it, with a controller there to put it back. */
  readonly publishedMs: number;
  /** When somebody wants another authority to take over; it is announced at once, and not before `authorityOverlap`. */
  readonly wantedMs?: number | undefined;
  readonly nowMs: number;
}

/** Says what to do with certificates. */
export function planRotation(
  certificates: Certificates,
  { names, publishedMs, wantedMs, nowMs }: Circumstances,
): RotationStep {
  const authority = read(certificates.authority, nowMs);
  const next = read(certificates.next, nowMs);
  if (!authority) return { kind: next ? 'promote-next' : 'create-authority' };
  const announceMs = authority.endMs - lifetimes.authorityOverlap;
  const isWanted =
    wantedMs !== undefined &&
    wantedMs > (certificates.promotedMs ?? -Infinity) &&
    wantedMs < nowMs + lifetimes.authorityOverlap;
  if (!next && (nowMs >= announceMs || isWanted)) return { kind: 'announce-next' };
  const settledMs = publishedMs + lifetimes.settling;
  const usualMs = next && Math.max(next.beginMs + lifetimes.announcement, settledMs);
  // Who names an earlier time has seen to it that the next one is known by then.
  const promoteMs = next && isWanted ? wantedMs : usualMs;
  if (promoteMs !== undefined && nowMs >= promoteMs) return { kind: 'promote-next' };
  const leaf = read(certificates.leaf, nowMs);
  const leafMs = leaf && leaf.endMs - lifetimes.leafRest;
  if (leafMs === undefined || nowMs >= leafMs || !isFor(leaf, authority, names))
    return { kind: 'issue-leaf' };
  const forgetMs =
    certificates.previous === undefined
      ? undefined
      : Math.max((certificates.promotedMs ?? 0) + lifetimes.announcement, settledMs);
  if (forgetMs !== undefined && nowMs >= forgetMs) return { kind: 'forget-previous' };
  const times = [announceMs, promoteMs, leafMs, forgetMs].filter(
    (time) => typeof time === 'number',
  );
  return { kind: 'wait', untilMs: Math.min(...times.filter((time) => time > nowMs)) };
}

/** Returns what clients are to trust, in PEM: two authorities while one is replaced by the other. */
export function trustedAuthorities({ authority, next, previous }: Certificates): string {
  return [authority?.cert, next?.cert, previous].filter((pem) => pem !== undefined).join('');
}

interface Usable {
  readonly certificate: X509Certificate;
  readonly beginMs: number;
  readonly endMs: number;
}

/** Undefined for what is not there, cannot be read, or is not valid now: after a clock was set back, for example. */
function read(pair: ServerKeyPair | undefined, nowMs: number): Usable | undefined {
  const certificate = pair && tryParse(pair.cert);
  if (!certificate) return undefined;
  const beginMs = Date.parse(certificate.validFrom);
  const endMs = Date.parse(certificate.validTo);
  return beginMs <= nowMs && nowMs < endMs ? { certificate, beginMs, endMs } : undefined;
}

function tryParse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined; // what cannot be read is replaced
  }
}

function isFor(leaf: Usable | undefined, authority: Usable, names: readonly string[]): boolean {
  return (
    leaf !== undefined &&
    leaf.certificate.verify(authority.certificate.publicKey) &&
    names.every((name) => leaf.certificate.checkHost(name, { subject: 'never' }) !== undefined)
  );
}
