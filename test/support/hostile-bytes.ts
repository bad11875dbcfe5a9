import { buildMessage, int32 } from '#core/postgres/reader.ts';
import { buildCancelRequest, buildSslRequest, buildStartup } from '#core/postgres/startup.ts';
import { buildExecute, buildPassword, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import type { Random } from './random.ts';

/** A Bind message with any body. */
export function buildBind(body: Buffer): Buffer {
  return buildMessage('B', body);
}

/** What somebody may send who wants to break a server: noise, honest beginnings gone wrong, and lies about lengths. */
export function hostileLogins(random: Random, token: string): Buffer {
  const startup = buildStartup(
    new Map([
      ['user', 'analyst'],
      ['database', 'shop'],
    ]),
  );
  const honest = Buffer.concat([
    startup,
    buildPassword(token),
    buildQuery('SELECT 1'),
    buildMessage('P', '', 'SELECT $1::text', Buffer.from([0, 0])),
    buildBind(Buffer.from('0000000000010000000161', 'hex')),
    buildExecute('', 0),
    buildSync(),
  ]);
  switch (random.below(6)) {
    case 0:
      return random.bytes(1 + random.below(200));
    case 1:
      return Buffer.concat([int32(random.below(0x7fff_ffff)), random.bytes(random.below(100))]);
    case 2:
      return Buffer.concat([buildSslRequest(), random.bytes(random.below(50))]);
    case 3:
      return buildCancelRequest(random.below(0x7fff_ffff), random.bytes(4));
    case 4:
      return honest.subarray(0, random.below(honest.length));
    default: {
      const mutated = Buffer.from(honest);
      for (let times = 1 + random.below(3); times > 0; times -= 1) {
        const from = random.below(2) === 0 ? 0 : startup.length + token.length;
        mutated[from + random.below(mutated.length - from)] = random.below(256);
      }
      return mutated;
    }
  }
}
