import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { transcribe } from '#core/postgres/transcript.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import { CollectorClient } from '../collector-client.ts';
import { localCollector } from '../server-access.ts';
import { projectDirectory, type Instance } from '../instance.ts';
import { Printer } from '../show.ts';
import { fetchToken } from '../token.ts';
import { baseEnvironment, openLog } from './child.ts';
import { readEnvironment } from './config.ts';
import { demoDatabase } from './demo-data.ts';

export interface DemoOptions {
  readonly instance: Instance;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
  readonly logFile: string;
}

const backendName = 'shop';
const user = 'demo-agent@example.com';
const recordedTimeoutMs = 15_000;

/** Lets an agent work, and tells what it did and what was recorded. What goes wrong is said, and nothing else ends. */
export async function runDemo(options: DemoOptions): Promise<void> {
  const { instance, say, signal } = options;
  const backend = new Map(Object.entries(instance.backends)).get(backendName);
  if (!backend) return say(`there is no backend "${backendName}", so there is no demo`);
  try {
    const began = new Date();
    say('What the agent did, through the sidecar:');
    await runAgent(backend, options);
    const client = new CollectorClient(localCollector(instance));
    const session = await recordedSession(client, began, signal);
    if (!session)
      return say('\nThe session is not stored yet: "npx chaperone sessions" shows it later.');
    say('\nWhat was recorded:');
    const printer = new Printer((line) => say(line === '' ? '' : `  ${line}`));
    for await (const line of transcribe(client.frames(session.id))) printer.print(line);
    printer.flush();
    return say(nextSteps(backend, session.id, instance.collector.publicKeyFile));
  } catch (error) {
    if (!signal.aborted)
      say(`the demo failed: ${error instanceof Error ? error.message : 'unknown'}`);
  }
  return undefined;
}

async function runAgent(
  backend: { host: string; port: number },
  options: DemoOptions,
): Promise<void> {
  const { instance, say, signal } = options;
  const token = await fetchToken(instance, { sub: user, groups: 'agents', act: 'ada@example.com' });
  const log = openLog(options.logFile);
  const agent = spawn(process.execPath, [join(projectDirectory, 'cli/dev/demo-agent.ts')], {
    env: baseEnvironment(readEnvironment()),
    stdio: ['pipe', 'pipe', log],
    detached: true,
    signal,
  });
  closeSync(log);
  const { stdin, stdout } = agent;
  if (!stdin || !stdout) throw new Error('the agent has no pipes'); // both are asked for above
  stdin.on('error', () => undefined); // it has ended; its exit code says so
  stdin.end(JSON.stringify({ ...backend, database: demoDatabase, token }));
  createInterface({ input: stdout }).on('line', (line) => say(`  - ${String(JSON.parse(line))}`));
  const code = await new Promise<number | null>((resolve, reject) => {
    agent.on('error', reject);
    agent.on('close', resolve);
  });
  if (code !== 0)
    throw new Error(`the agent ended with code ${code ?? 'none'}: ${options.logFile} says why`);
}

async function recordedSession(
  client: CollectorClient,
  began: Date,
  signal: AbortSignal,
): Promise<SessionSummary | undefined> {
  const deadline = performance.now() + recordedTimeoutMs;
  while (performance.now() < deadline) {
    const [session] = await client.sessions({ who: user, since: began.toISOString() });
    if (session && session.endedAt !== null) return session;
    await delay(100, undefined, { signal });
  }
  return undefined;
}

function nextSteps(
  { host, port }: { host: string; port: number },
  id: string,
  publicKeyFile: string,
): string {
  const trust = relative('', publicKeyFile);
  return `
What to type next, in another terminal:
  PGPASSWORD=$(npx chaperone token) psql -h ${host} -p ${port} -U analyst ${demoDatabase}
  npx chaperone sql "SELECT name, price FROM products LIMIT 3"     # without psql
  npx chaperone sql --as ada,agents "SELECT name, ssn FROM customers LIMIT 5"     # is refused
  npx chaperone explain ${id}     # why the agent was
  npx chaperone sessions
  npx chaperone sessions show ${id}
  npx chaperone verify --all
  npx chaperone sessions export ${id} --output session.export
  npx chaperone verify session.export --trust ${trust}
Edit examples/local/*.yaml and watch what changes. Ctrl-C stops everything; the sessions stay.`;
}
