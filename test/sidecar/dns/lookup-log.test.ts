import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookupLog } from '../../../sidecar/dns/lookup-log.ts';
import { openSpool } from '../../support/sidecar-session.ts';

const verdict = { wouldBe: 'Deny', reason: 'unknown-host', revision: 'r' } as const;

test('every name that is let out is on record, and of those that are not as many as were asked for', async () => {
  using spool = openSpool();
  const log = new LookupLog({ writer: spool.writer, clearance: spool.writer });
  const allowed = { ...verdict, action: 'Allow' } as const;
  const denied = { ...verdict, action: 'Deny' } as const;
  for (let index = 0; index < 30; index += 1) assert.equal(await log.record({ name: `out${index}`, type: 'A' }, allowed), undefined); // prettier-ignore
  for (let index = 0; index < 100; index += 1) void log.record({ name: `in${index}`, type: 'AAAA' }, denied); // prettier-ignore
  log.endMinute();
  log.endMinute();
  void log.record({ name: 'again', type: 'A' }, denied);
  await spool.writer.turn();
  const lookups = spool.frames().flatMap(({ header, payload }) =>
    header.kind === 'lookup' ? [`${header.verdict.action} ${header.attempts} ${String(payload)}`] : [],
  ); // prettier-ignore
  assert.equal(lookups.length, 30 + 20 + 1 + 1);
  assert.equal(lookups[29], 'Allow 1 {"name":"out29","type":"A"}');
  assert.equal(lookups[49], 'Deny 1 {"name":"in19","type":"AAAA"}');
  assert.equal(lookups[50], 'Deny 80 {"name":"in99","type":"AAAA"}');
  assert.equal(lookups[51], 'Deny 1 {"name":"again","type":"A"}');
});
