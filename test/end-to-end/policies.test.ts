import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

describe('watched resources', { timeout: 300_000 }, () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance();
  });
  after(async () => instance[Symbol.asyncDispose]());

  const file = (name: string): string => join(instance.config, name);
  const edit = (name: string, from: string, to: string): void => {
    const text = readFileSync(file(name), 'utf8');
    assert.ok(text.includes(from), `${name} holds ${from}`);
    writeFileSync(file(name), text.replace(from, to));
  };
  /** Edits, and waits until something is printed that was not there before. */
  const editAndSee = async (
    name: string,
    [from, to]: [string, string],
    ...wanted: readonly RegExp[]
  ): Promise<void> => {
    const before = instance.output.length;
    edit(name, from, to);
    for (const want of wanted)
      await until(`${String(want)} is printed`, () => want.test(instance.output.slice(before)));
  };

  const mistakes: [what: string, name: string, change: [string, string], want: RegExp][] = [
    [
      'an unknown field',
      'policies.yaml',
      ['  delivery: Spool', '  delivery: Spool\n  deliver: Spool'],
      /policies\.yaml:\d+: spec\.deliver: unknown field/,
    ],
    [
      'a bad value',
      'policies.yaml',
      ['mode: Enforce', 'mode: Enfroce'],
      /policies\.yaml:\d+: spec\.mode: got "Enfroce", want one of Observe, Enforce/,
    ],
    [
      'a dangling reference',
      'backend.yaml',
      ['name: shop-credential', 'name: no-credential'],
      /backend\.yaml:\d+: spec\.credential\.secretRef\.name: there is no credential named "no-credential"/,
    ],
    [
      'a field that nothing applies yet',
      'policies.yaml',
      ['  delivery: Spool', '  delivery: Spool\n  maxBundleAge: 1h'],
      /policies\.yaml:\d+: spec\.maxBundleAge: unsupported/,
    ],
    ['what is not YAML', 'policies.yaml', ['spec:', 'spec: ['], /policies\.yaml:\d+: /],
  ];
  for (const [what, name, [from, to], want] of mistakes) {
    test(`${what} is said with file, line and path, and the earlier policies stay in force`, async () => {
      try {
        await editAndSee(name, [from, to], want, /the earlier policies stay in force/);
        const client = await instance.connect();
        assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
        await client.end();
      } finally {
        edit(name, to, from);
      }
    });
  }

  test('the line that is named is the line of the field', async () => {
    await editAndSee('policies.yaml', ['mode: Enforce', 'mode: Wrong'], /spec\.mode/);
    const lines = readFileSync(file('policies.yaml'), 'utf8').split('\n');
    const line = 1 + lines.findIndex((text) => text.includes('mode: Wrong'));
    assert.match(instance.output, new RegExp(`policies\\.yaml:${line}: spec\\.mode: got "Wrong"`));
    edit('policies.yaml', 'mode: Wrong', 'mode: Enforce');
  });

  test('a changed policy counts from the next statement of a session that is open', async () => {
    const client = await instance.connect();
    await client.query('SELECT 1');
    await editAndSee(
      'policies.yaml',
      ['mode: Enforce\n  defaultAction: Allow', 'mode: Enforce\n  defaultAction: Deny'],
      /policies changed/,
    );
    await assert.rejects(client.query("SELECT 'denied'"), (error) => {
      assert.ok(error instanceof Error && 'code' in error && 'hint' in error);
      assert.equal(error.code, '42501');
      assert.match(error.message, /denied by AuditPolicy\/local\/shop/);
      assert.match(String(error.hint), /recorded in session [0-9a-f-]{36}/);
      return true;
    });
    await assert.rejects(client.query("SELECT $1, 'denied'", [1]), { code: '42501' });
    await editAndSee(
      'policies.yaml',
      ['mode: Enforce\n  defaultAction: Deny', 'mode: Enforce\n  defaultAction: Allow'],
      /policies changed/,
    );
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
    assert.doesNotMatch(instance.backendLog(), /'denied'/);
  });

  test('access withdrawn ends the session', async () => {
    const client = await instance.connect();
    await client.query('SELECT 1');
    const ended = once(client, 'error');
    edit('backend.yaml', 'serviceAccounts: [local]', 'serviceAccounts: [another]');
    assert.match(String((await ended)[0]), /access to this backend was withdrawn/);
    edit('backend.yaml', 'serviceAccounts: [another]', 'serviceAccounts: [local]');
    const again = await until('agents can connect again', () =>
      instance.connect().catch(() => undefined),
    );
    await again.end();
  });

  test('no policy that selects the pod means that everything is refused', async () => {
    const text = readFileSync(file('policies.yaml'), 'utf8');
    rmSync(file('policies.yaml'));
    await until('logins are refused', async () => {
      const client = new Client(await instance.login());
      client.on('error', () => undefined);
      return client.connect().then(
        () => client.end().then(() => false),
        (error: unknown) => /no policy selects this pod/.test(String(error)),
      );
    });
    writeFileSync(file('policies.yaml'), text);
    await until('agents can connect again', () =>
      instance
        .connect()
        .then(async (client) => client.end().then(() => true))
        .catch(() => false),
    );
  });

  test('under policies that only observe, the workload itself may connect without a token, and a wrong one is refused', async () => {
    await editAndSee('policies.yaml', ['mode: Enforce', 'mode: Observe'], /policies changed/);
    const client = new Client({ ...(await instance.login()), password: '' });
    await client.connect();
    await client.end();
    const wrong = new Client(await instance.login({ password: 'wrong' }));
    wrong.on('error', () => undefined);
    await assert.rejects(wrong.connect(), { code: '28P01' });
    await editAndSee(
      'policies.yaml',
      [
        'mode: Observe\n  defaultAction: Allow\n  identity: Token',
        'mode: Enforce\n  defaultAction: Allow\n  identity: Token',
      ],
      /policies changed/,
    );
  });

  test('a record level of Digest keeps the text out of the records', async () => {
    const before = instance.output.length;
    const both = readFileSync(file('policies.yaml'), 'utf8');
    writeFileSync(
      file('policies.yaml'),
      both
        .replace('requests: Full', 'requests: Digest')
        .replace('responses: Full', 'responses: None')
        .replace(
          '  delivery: Spool',
          '  delivery: Spool\n  record: { requests: Digest, responses: None }',
        ),
    );
    await until(
      'it is in force',
      () => instance.output.length > before && instance.output.trimEnd().endsWith('is in force'),
    );
    const client = await instance.connect({ password: await instance.token({ sub: 'digest' }) });
    await client.query("SELECT 'never written down'");
    await client.end();
    writeFileSync(file('policies.yaml'), both);
    const session = await until('the session is stored', async () => {
      const [newest] = await instance.collector().sessions({ who: 'digest' });
      return newest?.endedAt === null ? undefined : newest;
    });
    let all = '';
    for await (const frame of instance.collector().frames(session.id))
      all += frame.headerBytes.toString() + frame.payload.toString();
    assert.doesNotMatch(all, /never written down/);
    assert.match(all, /"digest":\{"sha256":"[0-9a-f]{64}"/);
  });
});

describe('a TCP backend', () => {
  test('is carried both ways, half-closed as well, with metadata and counts recorded', async () => {
    const echo = createServer({ allowHalfOpen: true }, (socket) => {
      let received = 0;
      socket.on('data', (chunk) => {
        received += chunk.length;
        socket.write(chunk);
      });
      socket.on('end', () => socket.end(`got ${received}`));
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const { port } = echo.address() as AddressInfo;
    await using instance = await startInstance({
      prepare: (config) => {
        const policies = join(config, 'policies.yaml');
        writeFileSync(
          policies,
          readFileSync(policies, 'utf8').replace('identity: Token', 'identity: Workload'),
        );
        writeFileSync(
          join(config, 'echo.yaml'),
          `apiVersion: chaperone.dev/v1alpha1
kind: Backend
metadata: { name: echo }
spec:
  protocol: TCP
  hosts: [echo]
  ports: [7]
  upstream: { address: '127.0.0.1:${port}', tls: { mode: Disable } }
  consumers: [{ namespace: local }]
`,
        );
      },
    });
    const socket = connect({
      port: instance.instance.backends['echo']?.port ?? 0,
      host: '127.0.0.1',
      allowHalfOpen: true,
    });
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString()));
    socket.end('x'.repeat(100_000));
    await once(socket, 'end');
    assert.ok(answer.endsWith('got 100000'));
    const session = await until('the session is stored', async () => {
      const [newest] = await instance.collector().sessions({ backend: 'echo' });
      return newest?.endedAt === null ? undefined : newest;
    });
    const kinds: string[] = [];
    for await (const { header, payload } of instance.collector().frames(session.id)) {
      kinds.push(header.kind);
      assert.equal(payload.length, 0);
      if (header.kind === 'result')
        assert.deepEqual([header.bytesUp, header.bytesDown], [100_000, 100_010]);
    }
    assert.deepEqual(kinds, ['session.start', 'request', 'result', 'session.end']);
    echo.close();
  });
});
