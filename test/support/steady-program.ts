import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, DatabaseError, type ClientConfig } from 'pg';

/**
 * What a steady agent runs in its pod: it numbers its statements, and says in a line each what became of them. Its
 * connections, which are numbered too, go on as they are wherever they can, and begin anew where they cannot.
 */

const pod = process.env['STEADY_POD'] ?? '';
const host = process.env['PGHOST'] ?? '';
const pauseMs = 25;
const retryMs = 50;
const lookMs = 150;

/** Read once: an agent goes on trusting what it found when it began. */
const trusted = readFileSync(process.env['PGSSLROOTCERT'] ?? '', 'utf8');

const say = (...words: readonly (string | number)[]): void =>
  void process.stdout.write(`${words.join(' ')}\n`);

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());
const { signal } = stopping;

let statements = 0;
let connections = 0;
let lastOrder = '';

/** Settles whether a statement was answered; throws where the connection is gone. */
async function insert(client: Client): Promise<void> {
  statements += 1;
  const number = statements; // others are counted while this one waits
  const mark = `mark_${pod}_${number}_`;
  const isSimple = number % 2 === 0;
  try {
    if (isSimple) await client.query(`INSERT INTO marks VALUES ('${mark}')`);
    else await client.query('INSERT INTO marks VALUES ($1)', [mark]);
    say('answered', number);
  } catch (error) {
    const told = error instanceof DatabaseError;
    say(told ? 'failed' : 'lost', number, told ? (error.code ?? '') : codeOf(error));
    throw error;
  }
}

/** One connection after the other, with what is done over each. */
async function connect(
  config: ClientConfig,
  use: (client: Client) => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    connections += 1;
    const id = connections;
    const client = new Client({ ...config, application_name: `${pod}_${id}` });
    client.on('error', () => undefined); // what it interrupts says so
    let isOpen = false;
    try {
      await client.connect();
      isOpen = true;
      if (config.ssl !== undefined) say('verified', hashOfTrust());
      await use(client);
      await client.end();
      say('closed', id);
    } catch (error) {
      say(isOpen ? 'broken' : 'unreached', id, codeOf(error), reasonOf(error));
      client.end().catch(() => undefined); // what it talked to is gone
      await delay(retryMs);
    }
  }
}

/** So many statements over a connection. */
const insertMany =
  (count: number) =>
  async (client: Client): Promise<void> => {
    for (let left = count; left > 0 && !signal.aborted; left -= 1) {
      await insert(client);
      await delay(pauseMs);
    }
  };

/** Says in which words a statement is refused that policies of the tests are about, whenever they change. */
async function watchPolicy(client: Client): Promise<void> {
  for (; !signal.aborted; await delay(lookMs)) {
    const said = await client.query('TRUNCATE nothing').then(
      () => 'nothing',
      (error: unknown) => {
        if (error instanceof DatabaseError) return error.message;
        throw error;
      },
    );
    const [order = 'none'] = /order-\d+/.exec(said) ?? [];
    if (order !== lastOrder) say('order', order);
    lastOrder = order;
  }
}

/** What it would trust if it began now. */
function hashOfTrust(): string {
  return createHash('sha256').update(readFileSync(process.env['PGSSLROOTCERT'] ?? '')).digest('hex'); // prettier-ignore
}

/** Its message and, of a refusal, the details, in one line. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  const detail = error instanceof DatabaseError ? (error.detail ?? '') : '';
  return `${error.message} ${detail}`.replaceAll('\n', ' ');
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message.replaceAll(' ', '_'); // prettier-ignore
}

async function main(): Promise<void> {
  const verified = { ssl: { ca: trusted, servername: host } };
  const work = [connect(verified, insertMany(1_000)), connect({}, insertMany(20))];
  await Promise.all([...work, connect({}, watchPolicy)]);
  say('stopped', statements);
}

void main();
