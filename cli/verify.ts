import { createReadStream, existsSync, statSync } from 'node:fs';
import { ChaperoneError } from '#core/errors.ts';
import { verifyExport, type Trust } from '#core/record/verify-export.ts';
import { CollectorClient } from './collector-client.ts';
import { localCollector } from './server-access.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';
import { ofInstance, readKey, trustOf } from './trust.ts';
import { verdictLine, exitCodes } from './verdict.ts';
import { verifyAll } from './verify-all.ts';

const usage = `usage: chaperone verify FILE [--trust KEY.pem …] [--ledger FILE]
       chaperone verify ID [--trust KEY.pem …] [--ledger FILE] [--data DIR]
       chaperone verify --all [--trust KEY.pem …] [--ledger FILE] [--data DIR]

Checks that records are whole and unchanged, and who wrote them: an export that lies in a file, offline; a session or a
stream of the instance that runs; or all of its streams, with the ledger and the ledger's copy outside the store.

  --trust KEY.pem  public key of a collector that is trusted; may be given more than once
  --ledger FILE    a copy of the ledger
  --data DIR       of the instance whose data is there

Of an instance the key is DIR/collector.key.pub and the copy DIR/ledger.log, unless others are given.

Exit codes:
  0  complete: from the start, or a cut that the ledger knows, to the end, with a proven origin
  3  unbroken up to N, end unknown: it goes on, or its last records are not signed yet
  4  consistent, origin unproven: it fits, and no trusted key or ledger says whose it is
  1  broken at N, with the reason; or it could not be checked
  2  the command was typed wrongly`;

const howToTrust =
  'chaperone: --trust takes the public key of its collector, as in .chaperone/collector.key.pub, and proves the origin';

/** `chaperone verify`. */
export const verify: Command = {
  name: 'verify',
  summary: 'checks that records are complete and unchanged',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        all: { type: 'boolean', default: false },
        trust: { type: 'string', multiple: true, default: [] },
        ledger: { type: 'string' },
        data: { type: 'string' },
      },
    });
    const [what, ...more] = positionals;
    if (more.length > 0 || (what === undefined) !== values.all)
      throw new UsageError('verify needs a file, the id of a session or stream, or --all');
    const keys = values.trust.map(readKey);
    const given = { keys, ledgerFile: values.ledger };
    if (what === undefined) return verifyAll(findInstance(values.data), given, print);
    if (isFile(what)) {
      if (values.data !== undefined) throw new UsageError('--data is for what an instance has');
      const code = await checked(createReadStream(what), await trustOf(given));
      if (code === exitCodes.consistent && keys.length === 0 && values.ledger === undefined)
        process.stderr.write(`${howToTrust}\n`);
      return code;
    }
    const instance = findInstance(values.data);
    const trust = await trustOf(ofInstance(instance, given));
    const client = new CollectorClient(localCollector(instance));
    return checked(client.bytes(await exportPath(client, what)), trust);
  },
};

async function checked(pieces: AsyncIterable<Buffer>, trust: Trust): Promise<number> {
  const report = await verifyExport(pieces, trust);
  print(verdictLine(report));
  return exitCodes[report.verdict.kind];
}

/** Where the export of a session or a stream is, by the id of either. */
async function exportPath(client: CollectorClient, id: string): Promise<string> {
  const name = encodeURIComponent(id);
  try {
    await client.session(id);
    return `/v1/sessions/${name}/export`;
  } catch (error) {
    if (!(error instanceof ChaperoneError)) throw error;
    const found = await client.json(`/v1/streams/${name}`).catch(() => undefined);
    if (found === undefined) throw error; // what was said of the session
    return `/v1/streams/${name}/export`;
  }
}

function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile();
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
