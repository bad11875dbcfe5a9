import { isObject } from '#core/policy/fields.ts';
import type { KubeObject } from '../watch/kube-api.ts';
import { tryParseReport } from './report.ts';
import { beatMs } from './report-writer.ts';
import type { Standings } from './standing.ts';

interface Heard {
  readonly text: string;
  /** Undefined for what cannot be read. */
  readonly standings: Standings | undefined;
  /** When it was seen first, by the clock of whoever looks: those of others count for nothing. */
  readonly sinceMs: number;
}

/** What is said no more is of a replica that is gone: its sidecars follow another by now. */
const keepMs = 3 * beatMs;

/** What the replicas have told the leader. */
export class Reports {
  #heard: ReadonlyMap<string, Heard> = new Map();

  /** Takes what stands in the ConfigMap now. */
  take({ data }: KubeObject, nowMs: number): void {
    const texts = Object.entries(isObject(data) ? data : {});
    this.#heard = new Map(
      texts.flatMap(([name, text]): [string, Heard][] => {
        if (typeof text !== 'string') return [];
        const before = this.#heard.get(name);
        if (before?.text === text) return [[name, before]];
        return [[name, { text, standings: tryParseReport(text), sinceMs: nowMs }]];
      }),
    );
  }

  /** Names of replicas that are gone. */
  gone(nowMs: number): readonly string[] {
    return [...this.#heard].flatMap(([name, { sinceMs }]) => nowMs - sinceMs > keepMs ? name : []); // prettier-ignore
  }

  /** What those say that are not gone. */
  standings(nowMs: number): readonly Standings[] {
    return [...this.#heard.values()].flatMap(({ standings, sinceMs }) =>
      standings && nowMs - sinceMs <= keepMs ? standings : [],
    );
  }
}
