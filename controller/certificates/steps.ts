import { lifetimes, type Certificates, type RotationStep } from './plan.ts';
import type { ServerKeyPair } from '#core/control.ts';
import { createAuthority, issueCertificate } from '../../runtime/certificates.ts';

/** Whom certificates are made for. */
export interface Subject {
  /** The server's common name, of which its authority has its own. */
  readonly name: string;
  /** Those by which it is dialled. */
  readonly names: readonly string[];
}

/**
 * Takes one step of a plan; `wait` changes nothing. Whoever calls it stores what it returns before the next step, and
 * has clients trust it before servers show it.
 */
export async function takeStep(
  certificates: Certificates,
  step: RotationStep,
  subject: Subject,
  nowMs: number,
): Promise<Certificates> {
  switch (step.kind) {
    case 'create-authority': {
      const authority = await authorityOf(subject, nowMs);
      const leaf = await leafOf(authority, subject, nowMs);
      return { authority, leaf, next: undefined, previous: undefined, promotedMs: nowMs };
    }
    case 'announce-next':
      return { ...certificates, next: await authorityOf(subject, nowMs) };
    case 'promote-next': {
      const { authority: last, next: authority } = certificates;
      if (!authority) throw new TypeError('there is no next authority');
      const leaf = await leafOf(authority, subject, nowMs);
      return { authority, leaf, next: undefined, previous: last?.cert, promotedMs: nowMs };
    }
    case 'issue-leaf': {
      if (!certificates.authority) throw new TypeError('there is no authority');
      return { ...certificates, leaf: await leafOf(certificates.authority, subject, nowMs) };
    }
    case 'forget-previous':
      return { ...certificates, previous: undefined };
    case 'wait':
      return certificates;
  }
}

function authorityOf({ name }: Subject, nowMs: number): Promise<ServerKeyPair> {
  // Each has a name of its own: two with one name, and clients may try the wrong one alone.
  const commonName = `${name} CA ${new Date(nowMs).toISOString()}`;
  return createAuthority({ commonName, nowMs, lifetimeMs: lifetimes.authority });
}

function leafOf(
  authority: ServerKeyPair,
  { name: commonName, names }: Subject,
  nowMs: number,
): Promise<ServerKeyPair> {
  return issueCertificate({ authority, commonName, names, nowMs, lifetimeMs: lifetimes.leaf });
}
