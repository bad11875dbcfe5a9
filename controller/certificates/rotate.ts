import { setTimeout as delay } from 'node:timers/promises';
import { ApiException } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { retire, servers, type Kept, type Server } from './kept.ts';
import { Conflict, type CertificateObjects } from './objects.ts';
import { planRotation, trustedAuthorities } from './plan.ts';
import { takeStep, type Subject } from './steps.ts';

/** How often it is looked whether somebody else changed what is published: without it no pod starts. */
const lookMs = 10_000;

/** More than any plan has; and as often one may be in somebody's way. */
const maxRounds = 8;

export interface RotateOptions {
  readonly objects: CertificateObjects;
  /** Of the cluster's Services, such as `cluster.local`. */
  readonly clusterDomain: string;
  readonly log: Logger;
  readonly now?: () => number;
}

/** Names by which a server of ours is dialled; the first is the one that our own clients use. */
export function serverNames(server: Server, namespace: string, clusterDomain: string): string[] {
  const service = `chaperone-${server}`;
  return [`${service}.${namespace}.svc`, `${service}.${namespace}.svc.${clusterDomain}`, service];
}

/**
 * Makes the certificates of all servers, has clients trust them, hands them to the servers, and replaces them in time,
 * until the signal aborts. What fails is said and tried again. It is the work of one replica; should two do it for a
 * moment, each write is refused that is not based on the last one.
 */
export async function rotateCertificates(
  options: RotateOptions,
  signal: AbortSignal,
): Promise<void> {
  const rotations = servers.map((server) => new Rotation(server, options));
  while (!signal.aborted) {
    const untilMs: number[] = [];
    for (const rotation of rotations) untilMs.push(await rotation.run(signal));
    const waitMs = Math.min(...untilMs) - (options.now ?? Date.now)();
    await delay(Math.min(Math.max(waitMs, 0), lookMs), undefined, { signal }).catch(
      () => undefined,
    ); // asked to stop
  }
}

/** The certificates of one server. */
export class Rotation {
  readonly #server: Server;
  readonly #subject: Subject;
  readonly #options: RotateOptions;
  readonly #now: () => number;
  /** Since when what stands in the cluster is what `what` says, as far as this process has seen. */
  #published: { readonly what: string; readonly sinceMs: number } | undefined;
  #lastProblem: string | undefined;

  constructor(server: Server, options: RotateOptions) {
    const { namespace } = options.objects.places;
    const names = serverNames(server, namespace, options.clusterDomain);
    this.#server = server;
    this.#subject = { name: `chaperone-${server}`, names };
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Does what is to be done now. Returns when there is more to do, in milliseconds since 1970, if nothing changes. */
  async run(signal: AbortSignal): Promise<number> {
    try {
      const untilMs = await this.#settle(signal);
      this.#lastProblem = undefined;
      return untilMs;
    } catch (error) {
      // An error's text may hold what was to be written.
      const problem = error instanceof ApiException ? `status ${error.code}` : textOf(error);
      if (problem !== this.#lastProblem)
        this.#options.log.error({ server: this.#server, problem }, 'certificates cannot be kept');
      this.#lastProblem = problem;
      return this.#now() + lookMs;
    }
  }

  async #settle(signal: AbortSignal): Promise<number> {
    const { objects, log } = this.#options;
    for (let round = 0; round < maxRounds && !signal.aborted; round += 1) {
      try {
        const { version, value: kept, wantedMs } = await objects.readKept(this.#server);
        if (kept === undefined) throw new Unreadable();
        const publishedMs = await this.#publish(kept, signal);
        const nowMs = this.#now();
        const { names } = this.#subject;
        const step = planRotation(kept, { names, publishedMs, wantedMs, nowMs });
        if (step.kind === 'wait') return step.untilMs;
        const changed = await takeStep(kept, step, this.#subject, nowMs);
        if (signal.aborted) break;
        await objects.writeKept(this.#server, version, retire(kept, changed, nowMs));
        log.info({ server: this.#server, step: step.kind }, 'certificates were changed');
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
      }
    }
    return this.#now() + lookMs;
  }

  /** Puts what is kept where it belongs: trust first, so that no server shows what nobody trusts yet. */
  async #publish(kept: Kept, signal: AbortSignal): Promise<number> {
    const { objects, log } = this.#options;
    const pem = trustedAuthorities(kept);
    const changed: string[] = [];
    if (pem !== '' && !signal.aborted) {
      const found = await objects.readAuthorities(this.#server);
      if (found.value !== pem) {
        await objects.writeAuthorities(this.#server, found.version, pem);
        changed.push('ConfigMap');
      }
      if (this.#server === 'webhook') changed.push(...(await objects.trustInWebhooks(pem)));
    }
    if (kept.leaf && !signal.aborted) {
      const found = await objects.readLeaf(this.#server);
      if (found.value.cert !== kept.leaf.cert || found.value.key !== kept.leaf.key) {
        await objects.writeLeaf(this.#server, found.version, kept.leaf);
        changed.push('Secret');
      }
    }
    if (changed.length > 0)
      log.info({ server: this.#server, changed }, 'certificates were published');
    const what = JSON.stringify([pem, kept.leaf?.cert]);
    const nowMs = this.#now();
    const isAsBefore = this.#published?.what === what && this.#published.sinceMs <= nowMs;
    if (!isAsBefore || changed.length > 0) this.#published = { what, sinceMs: nowMs };
    return this.#published?.sinceMs ?? nowMs;
  }
}

class Unreadable extends Error {
  constructor() {
    super('the Secret chaperone-authority does not hold what this release writes: see the key of the server, mend or remove it'); // prettier-ignore
  }
}

function textOf(error: unknown): string {
  if (error instanceof Unreadable) return error.message;
  return error instanceof Error ? error.name : 'unknown';
}
