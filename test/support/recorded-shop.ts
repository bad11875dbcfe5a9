import { randomUUID } from 'node:crypto';
import { podIdentity, type TestCollector } from './collectors.ts';
import { StreamAuthor } from './stream-author.ts';

export interface ShopOptions {
  /** One that may write. Default `agent`. */
  readonly pod?: string;
  readonly principal?: string;
  readonly backend?: string;
}

/** A session that a collector has, with each kind of operation in it, and what nobody may see of it. */
export interface RecordedShop {
  readonly session: string;
  readonly stream: string;
  /** Constants, parameters, rows and texts that cannot be read. */
  readonly secrets: readonly string[];
}

const allowed = { action: 'Allow', wouldBe: 'Allow', reason: 'observe', revision: 'r' };
const denied = {
  action: 'Deny', wouldBe: 'Deny', reason: 'rule', revision: 'r',
  policy: 'AuditPolicy/ns/shop', rule: 'no-ddl',
}; // prettier-ignore

/** Records a session of a shop: a Query, a Parse with its Bind, a denied one, and one with a mistake; in three batches. */
export async function recordShop(
  collector: TestCollector,
  { pod = 'agent', principal = 'ada@example.com', backend = 'shop' }: ShopOptions = {},
): Promise<RecordedShop> {
  const author = new StreamAuthor({ identity: podIdentity(pod) });
  const [session, mark] = [randomUUID(), randomUUID()];
  const secret = (of: string): string => `${of}-${mark}`;
  const secrets = ['constant', 'parameter', 'row', 'mistake', 'comment'].map(secret);
  const say = (fields: object, payload: string | Buffer = ''): Buffer =>
    author.record({ session, ...fields }, payload);
  const query = (text: string, verdict: object): Buffer =>
    say({ kind: 'request', verdict, payloadType: 'postgres.query' }, text);
  const result = (rows: number, fields: object = {}): Buffer =>
    say(
      { kind: 'result', request: author.seq, status: 'ok', 'db.response.returned_rows': rows, durationUs: 1_500, ...fields },
      secret('row'),
    ); // prettier-ignore
  const send = async (...frames: readonly Buffer[]): Promise<void> => {
    const { status, text } = await collector.put(frames, pod);
    if (status !== 200) throw new Error(text);
  };
  const opening = [
    author.start(),
    say(
      {
        kind: 'session.start', protocol: 'Postgres', backend, revision: 'r', attachment: 'Namespace',
        principal: { kind: 'token', user: principal }, payloadType: 'json',
        'server.address': 's', 'server.port': 1, 'client.address': 'c', 'client.port': 2,
      },
      JSON.stringify({ user: 'role', database: 'shop' }),
    ),
    query(`select * from customers where email = '${secret('constant')}'`, allowed),
    result(2),
    say(
      { kind: 'statement', verdict: allowed, payloadType: 'postgres.parse' },
      Buffer.from(`\0select name from orders where id = $1 -- ${secret('comment')}\0\0\0`),
    ),
  ]; // prettier-ignore
  const statement = author.seq;
  await send(...opening);
  await send(
    say({ kind: 'request', statement, verdict: allowed, payloadType: 'postgres.bind' }, secret('parameter')), // prettier-ignore
    result(1),
    query('drop table orders', denied),
    query(`selec '${secret('mistake')}'`, allowed),
  );
  await send(
    result(0, { status: 'error', 'db.response.status_code': '42601' }),
    say({ kind: 'session.end', reason: 'agent-closed', count: 10, durationMs: 1 }),
    author.checkpoint(),
  );
  return { session, stream: author.stream, secrets };
}
