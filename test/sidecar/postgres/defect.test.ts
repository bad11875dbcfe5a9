import assert from 'node:assert/strict';
import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { parseErrorFields } from '#core/postgres/backend.ts';
import { buildQuery } from '#core/postgres/frontend.ts';
import { Relay } from '../../../sidecar/postgres/relay.ts';
import { openSession, openSpool } from '../../support/sidecar-session.ts';

test('a defect of the gateway is told to the agent as one, and not as the agent’s own fault', async () => {
  using spool = openSpool();
  const defect = new TypeError('a metric is missing');
  const session = openSession(
    spool.writer,
    {},
    {
      onVerdict: () => {
        throw defect;
      },
    },
  );
  await session.recorded();
  const [agent, atAgent] = duplexPair();
  const [upstream, atBackend] = duplexPair();
  upstream.on('close', () => atBackend.destroy());
  let told = Buffer.alloc(0);
  agent.on('data', (chunk: Buffer) => {
    told = Buffer.concat([told, chunk]);
  });
  agent.on('end', () => agent.end());
  const ran = new Relay({ agent: atAgent, upstream, session, cancel: async () => undefined }).run();
  const failed = assert.rejects(ran, (error: Error) => error.cause === defect);
  agent.write(buildQuery('SELECT 1'));
  await once(agent, 'end');
  await failed;
  session.end('internal-error');
  const fields = parseErrorFields(told.subarray(5));
  assert.deepEqual([fields.get('S'), fields.get('C')], ['FATAL', 'XX000']);
  assert.doesNotMatch(told.toString(), /metric/);
});
