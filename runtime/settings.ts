import { ChaperoneError } from '#core/errors.ts';

/** Variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A host and a port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Reads `CHAPERONE_*` variables and collects every mistake, so that an operator mends them in one go. */
export class SettingsReader {
  readonly #env: Environment;
  readonly #seen = new Set<string>();
  readonly #mistakes: string[] = [];

  constructor(env: Environment) {
    this.#env = env;
  }

  value<T>(
    name: string,
    want: string,
    tryParse: (text: string) => T | undefined,
    fallback?: string,
  ): T {
    this.#seen.add(name);
    const text = (this.#isServiceLink(name) ? undefined : this.#env[name]) ?? fallback;
    const value = text === undefined ? undefined : tryParse(text);
    if (value === undefined) {
      this.#mistakes.push(
        `${name}: got ${text === undefined ? 'nothing' : `"${text}"`}, want ${want}`,
      );
    }
    return value as T; // `finish` throws before a missing value can be used
  }

  integer(name: string, least: number, most: number, fallback: number): number {
    const tryParse = (text: string): number | undefined => {
      const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
      return value >= least && value <= most ? value : undefined;
    };
    return this.value(name, `an integer from ${least} to ${most}`, tryParse, String(fallback));
  }

  /** Call last. @throws ChaperoneError `config-invalid` with every bad or unknown variable. */
  finish(): void {
    for (const name of Object.keys(this.#env)) {
      if (name.startsWith('CHAPERONE_') && !this.#seen.has(name) && !this.#isServiceLink(name)) {
        this.#mistakes.push(`${name}: got a variable of this name, want one that exists`);
      }
    }
    if (this.#mistakes.length > 0)
      throw new ChaperoneError('config-invalid', this.#mistakes.join('\n'));
  }

  /** A Service in the pod's namespace that is called chaperone-something: Kubernetes tells every container of it. */
  #isServiceLink(name: string): boolean {
    const value = this.#env[name] ?? '';
    return serviceLinks.some(([ending, shape]) => ending.test(name) && shape.test(value));
  }
}

/** Ends of the names that Kubernetes gives variables about a Service, each with what their values look like. */
const serviceLinks: readonly (readonly [name: RegExp, value: RegExp])[] = [
  [/_SERVICE_HOST$/, /^[0-9a-f.:]+$/],
  [/_SERVICE_PORT(_\w+)?$/, /^\d+$/],
  [/_PORT(_\d+_(TCP|UDP|SCTP))?$/, /^(tcp|udp|sctp):\/\//],
  [/_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$/, /^[0-9a-z.:]+$/],
];

export function tryParseNonEmpty(text: string): string | undefined {
  return text === '' ? undefined : text;
}

export function tryParseHttps(text: string): URL | undefined {
  const url = URL.parse(text);
  return url?.protocol === 'https:' ? url : undefined;
}

/** Reads `host:port` or `[v6]:port`. */
export function tryParseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

export function tryParseLogLevel(text: string): string | undefined {
  return logLevels.find((level) => level === text);
}
