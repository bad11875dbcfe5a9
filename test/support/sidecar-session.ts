import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseFrames, type Frame } from '#core/record/frame.ts';
import { isRefusal } from '#core/operation.ts';
import { compilePolicies, type CompiledPolicies } from '#core/policy/compile.ts';
import { parseResource } from '#core/policy/parse.ts';
import { resolve, type Bundle, type ResolvedBackend } from '#core/policy/resolve.ts';
import { Clearance, type Commits } from '../../sidecar/clearance.ts';
import { LiveSession, createSessionId } from '../../sidecar/session.ts';
import { createClock } from '../../sidecar/spool/clock.ts';
import { segmentBytes } from '../../sidecar/spool/segment.ts';
import { limitsOf, Usage } from '../../sidecar/usage.ts';
import { SpoolWriter, type WriterOptions } from '../../sidecar/spool/writer.ts';

/** A real spool in a directory of its own. */
export interface TestSpool extends Disposable {
  readonly writer: SpoolWriter;
  readonly directory: string;
  /** What went wrong with it, in order; undefined where it worked again. */
  readonly troubles: (Error | undefined)[];
  /** Paths of its files, in order. */
  segments(): string[];
  /** Everything that is in them. */
  frames(): Frame[];
}

export function openSpool(options: Partial<WriterOptions> = {}): TestSpool {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-spool-'));
  const stream = createSessionId(Date.now());
  const troubles: (Error | undefined)[] = [];
  const writer = new SpoolWriter({
    directory,
    stream,
    now: createClock(Date.now, () => performance.now()),
    maxBytes: 1024 ** 3,
    reserveBytes: 1024 ** 2,
    segmentBytes,
    waitMs: () => 0,
    onWritten: () => undefined,
    onSegmentClosed: () => undefined,
    onTrouble: (error) => troubles.push(error),
    ...options,
  });
  const segments = (): string[] =>
    readdirSync(join(directory, stream))
      .sort()
      .map((name) => join(directory, stream, name));
  return {
    writer,
    directory,
    troubles,
    segments,
    frames: () => segments().flatMap((path) => [...parseFrames(readFileSync(path))]),
    [Symbol.dispose]: () => {
      writer.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const neverNeeded: Commits = { ackedSeq: 0, committed: () => undefined };

/** A session of a pod with one policy, or under what is compiled by hand. */
export function openSession(
  writer: SpoolWriter,
  spec: object = {},
  more: {
    readonly onVerdict?: () => void;
    readonly compiled?: () => CompiledPolicies;
    readonly backend?: ResolvedBackend;
  } = {},
): LiveSession {
  const workload = {
    pod: 'p',
    namespace: 'n',
    serviceAccount: 's',
    labels: new Map<string, string>(),
  };
  const { resource } = parseResource({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'ClusterAuditPolicy',
    metadata: { name: 'test' },
    spec: { podSelector: {}, ...spec },
  });
  const { bundle } = resolve(resource ? [resource] : [], workload, new Map());
  if (!bundle) throw new Error('the test has a wrong policy');
  const current: Bundle = bundle;
  const compiled = compilePolicies(current);
  const limits = limitsOf(current.policy);
  const use = new Usage().open('b', limits);
  if (isRefusal(use)) throw new Error('the test has no room for a session');
  return new LiveSession({
    writer,
    clearance: new Clearance({ writer, commits: neverNeeded, delivery: () => 'Spool' }),
    bundle: () => current,
    compiled: more.compiled ?? (() => compiled),
    who: { kind: 'workload', user: 'test' },
    target: {
      backend: more.backend ?? {
        name: 'b',
        protocol: 'Postgres',
        upstream: { host: 'h', port: 1, tls: { mode: 'Disable', ca: undefined } },
        credential: undefined,
        postgres: { users: new Map(), databases: new Map(), applicationName: 'Keep', settings: [] },
        hosts: ['h'],
        ports: [3],
        labels: new Map(),
      },
      client: { address: '127.0.0.1', port: 2 },
      server: { address: '127.0.0.1', port: 3 },
    },
    login: undefined,
    use,
    limits: () => limits,
    onEnd: () => undefined,
    onVerdict: more.onVerdict ?? (() => undefined),
  });
}
