import { ChaperoneError } from '#core/errors.ts';
import { verifySession, type Verdict } from '#core/record/verify.ts';
import { CollectorClient } from './collector-client.ts';
import { readArguments, UsageError, type Command } from './command.ts';
import { findInstance } from './instance.ts';

const usage = `usage: chaperone verify ID [--data DIR]

Checks that a session's records are whole and unchanged: payloads against the hashes in their headers, numbers without a
gap, and every header against the hash chain of its stream up to the head that the collector acknowledged.

Exit codes:
  0  consistent, origin unproven: all is there and fits; nothing is signed yet, so who wrote it is not proven
  3  unbroken up to N, end unknown: the same, and the session is still open
  1  broken at N, with the reason; or it could not be checked
  2  the command was typed wrongly`;

/** `chaperone verify`. */
export const verify: Command = {
  name: 'verify',
  summary: 'checks that a session is complete and unchanged',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: { data: { type: 'string' } },
    });
    const [id, ...more] = positionals;
    if (id === undefined || more.length > 0)
      throw new UsageError('verify needs the id of one session');
    const { text, code } = sentence(
      await check(new CollectorClient(findInstance(values.data)), id),
    );
    process.stdout.write(`${text}\n`);
    return code;
  },
};

async function check(client: CollectorClient, id: string): Promise<Verdict> {
  const { id: session, stream } = await client.session(id);
  const head = await client.json<{ ackedSeq: number; headLink: string }>(`/v1/streams/${stream}`);
  try {
    return await verifySession({
      session,
      stream,
      frames: client.frames(session),
      headerHashes: client.headerHashes(stream, head.ackedSeq),
      ackedSeq: head.ackedSeq,
      headLink: Buffer.from(head.headLink, 'hex'),
    });
  } catch (error) {
    if (!(error instanceof ChaperoneError) || error.code !== 'record-invalid') throw error;
    return { kind: 'broken', seq: 0, why: error.message };
  }
}

function sentence(verdict: Verdict): { text: string; code: number } {
  const erased = (count: number): string => (count > 0 ? `; ${count} payloads were erased` : '');
  switch (verdict.kind) {
    case 'consistent':
      return {
        text: `consistent, origin unproven (${verdict.records} records${erased(verdict.erased)})`,
        code: 0,
      };
    case 'unbroken':
      return {
        text: `unbroken up to ${verdict.upTo}, end unknown${erased(verdict.erased)}`,
        code: 3,
      };
    case 'broken':
      return { text: `broken at ${verdict.seq}: ${verdict.why}`, code: 1 };
  }
}
