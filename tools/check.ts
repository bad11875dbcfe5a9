import { execFileSync } from 'node:child_process';
import { build } from 'esbuild';
import { nativePackages, workers } from './bundle.ts';

/**
 * Static checks, all of them, with one line each: format, types, lint, and what each deployable's bundle may hold.
 * A bundle is checked rather than imports, because a dependency's dependency counts as well.
 */

const deployables = [
  {
    entry: 'sidecar/main.ts',
    never: [
      /^webhook\//,
      /^collector\//,
      /^cli\//,
      /node_modules\/(fastify|pg|@kubernetes)\/|node_modules\/@opentelemetry\/sdk/,
    ],
    /** What makes certificates takes too much memory to stay: its worker has it, for as long as one is made. */
    neverInMain: [/node_modules\/@peculiar\//],
  },
  {
    entry: 'webhook/main.ts',
    never: [
      /^sidecar\//,
      /^collector\//,
      /^cli\//,
      /^core\/(identity|postgres|record)\/(?!principal|sql\/)/,
      /node_modules\/(pg|libpg-query)\//,
    ],
  },
  {
    entry: 'controller/main.ts',
    never: [
      /^sidecar\//,
      /^collector\//,
      /^cli\//,
      /^core\/(postgres|record)\/(?!sql\/)/,
      /node_modules\/(pg|libpg-query)\//,
    ],
  },
  {
    entry: 'collector/main.ts',
    never: [
      /^sidecar\//,
      /^webhook\//,
      /^cli\//,
      /^core\/policy\//,
      /node_modules\/(yaml|@peculiar)\//,
    ],
  },
] as const;

/** A worker shares memory with its service's other threads, but not what they have loaded. */
const inWorkers: Readonly<Record<string, readonly RegExp[]>> = {
  'sidecar/spool/worker.ts': [/^core\/(policy|identity|postgres)\//, /node_modules\//],
  'sidecar/trust/worker.ts': [
    /^core\/(policy|identity|postgres|record)\//,
    /node_modules\/(?!@peculiar|@noble|asn1js|pvtsutils|pvutils|reflect-metadata|tslib|tsyringe|bytestreamjs|pkijs)/,
  ],
  'sidecar/postgres/grammar/worker.ts': [
    /^core\/(policy|identity|record)\/|^core\/postgres\/(?!sql\/)/,
    /node_modules\/(?!libpg-query\/|@pgsql\/types\/)/,
  ],
  'collector/shapes/worker.ts': [/^core\//, /node_modules\/(?!libpg-query\/|@pgsql\/types\/)/],
};

/** What hostile texts can kill, no thread that does anything else may hold. */
const inWorkersAlone = [/node_modules\/libpg-query\//];

function run(name: string, command: string, args: readonly string[]): void {
  process.stdout.write(`${name} … `);
  try {
    execFileSync(command, args, { stdio: 'pipe', encoding: 'utf8' });
    process.stdout.write('ok\n');
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }; // execFileSync attaches them
    process.stdout.write(`failed\n${stdout}${stderr}`);
    process.exitCode = 1;
  }
}

async function checkBundle(entry: string, never: readonly RegExp[]): Promise<void> {
  process.stdout.write(`bundle of ${entry} … `);
  const { metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    external: [...nativePackages],
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const inputs = Object.keys(metafile.inputs);
  const found = inputs.filter((input) => never.some((pattern) => pattern.test(input)));
  if (found.length === 0) {
    process.stdout.write(`ok (${inputs.length} files)\n`);
    return;
  }
  process.stdout.write(`failed: it holds ${found.slice(0, 5).join(', ')}\n`);
  process.exitCode = 1;
}

run('format', 'prettier', ['--check', '.']);
run('types', 'tsc', []);
run('lint', 'oxlint', ['--type-aware', '--deny-warnings']);
for (const { entry, never, ...more } of deployables) {
  const inMain = 'neverInMain' in more ? more.neverInMain : [];
  await checkBundle(entry, [...never, ...inMain, ...inWorkersAlone]);
  for (const worker of workers[entry] ?? []) {
    await checkBundle(worker, [...never, ...(inWorkers[worker] ?? [/./])]); // or all would be let in
  }
}
