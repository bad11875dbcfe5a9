import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { preparePostgres } from '../../../cli/dev/postgres-binaries.ts';
import { startPostgres, type PostgresServer } from '../../../cli/dev/postgres-server.ts';
import { logInToBackend } from '../../../sidecar/postgres/backend-login.ts';
import { prepare, ScramClient } from '../../../sidecar/postgres/scram.ts';
import { Random, scaled } from '../../support/random.ts';

const hmac = (key: Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

/** The server's half, from the definitions of RFC 5802 section 3. */
function server(clientFirst: string, password: string, iterations = 4096) {
  const nonce = `${clientFirst.split('r=')[1] ?? ''}more`;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const first = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
  const storedKey = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
  const authMessage = `${clientFirst.slice(3)},${first},c=biws,r=${nonce}`;
  return {
    first,
    /** Whether the proof shows that the client knows the password. */
    accepts(clientFinal: string): boolean {
      const proof = Buffer.from(clientFinal.split(',p=')[1] ?? '', 'base64');
      const signature = hmac(storedKey, authMessage);
      const key = Buffer.from(proof.map((byte, index) => byte ^ (signature[index] ?? 0)));
      return createHash('sha256').update(key).digest().equals(storedKey);
    },
    last: `v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}`,
  };
}

describe('ScramClient', () => {
  const client = (): ScramClient => new ScramClient({ password: 'pencil', nonce: 'abc' });
  const refused = { code: 'backend-login-failed' };

  test('proves the password, and believes a server that proves the same', async () => {
    const scram = client();
    const peer = server(scram.first(), 'pencil');
    assert.equal(scram.first(), 'n,,n=,r=abc');
    assert.equal(peer.accepts(await scram.final(peer.first)), true);
    assert.equal(scram.verified, false);
    scram.verify(peer.last);
    assert.equal(scram.verified, true);
  });

  test('does not believe a server that knows another password', async () => {
    const scram = client();
    const peer = server(scram.first(), 'pen');
    assert.equal(peer.accepts(await scram.final(peer.first)), false);
    assert.throws(() => scram.verify(peer.last), refused);
    assert.equal(scram.verified, false);
  });

  test('takes no second guess at the signature', async () => {
    const scram = client();
    const peer = server(scram.first(), 'pencil');
    await scram.final(peer.first);
    assert.throws(() => scram.verify('v=AAAA'), refused);
    assert.throws(() => scram.verify(peer.last), refused);
    assert.equal(scram.verified, false);
  });

  test('gives one proof an exchange', async () => {
    const scram = client();
    const peer = server(scram.first(), 'pencil');
    const both = await Promise.allSettled([scram.final(peer.first), scram.final(peer.first)]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    scram.verify(peer.last);
    await assert.rejects(scram.final(peer.first), refused);
  });

  test('takes no signature before its proof', () => {
    assert.throws(() => client().verify('v='), refused);
  });

  const salt = 'c2FsdHNhbHQ=';
  const hostile: readonly (readonly [what: string, first: string])[] = [
    ['another nonce', `r=xyzmore,s=${salt},i=4096`],
    ['our nonce and nothing added', `r=abc,s=${salt},i=4096`],
    ['an extension that must be understood', `m=new,r=abcmore,s=${salt},i=4096`],
    ['no salt', 'r=abcmore,s=,i=4096'],
    ['no iterations', `r=abcmore,s=${salt}`],
    ['zero iterations', `r=abcmore,s=${salt},i=0`],
    ['so many iterations that a thread is held', `r=abcmore,s=${salt},i=1000001`],
    ['iterations without end', `r=abcmore,s=${salt},i=${'9'.repeat(400)}`],
    ['a count that is no number', `r=abcmore,s=${salt},i=1e3`],
    ['nothing', ''],
  ];
  for (const [what, first] of hostile) {
    test(`refuses a server that sends ${what}`, async () => {
      await assert.rejects(client().final(first), refused);
    });
  }

  for (const last of ['', 'v=', 'v=!', 'e=invalid-proof', `v=${'A'.repeat(10_000)}`]) {
    test(`refuses the last message "${last.slice(0, 20)}"`, async () => {
      const scram = client();
      await scram.final(server(scram.first(), 'pencil').first);
      assert.throws(() => scram.verify(last), refused);
    });
  }

  test('survives random messages with documented errors alone', async () => {
    const random = new Random(5802);
    for (let round = 0; round < scaled(5_000); round += 1) {
      const scram = client();
      const first = Buffer.from(server(scram.first(), 'pencil', 1).first);
      first[random.below(first.length)] = random.below(256);
      try {
        await scram.final(first.toString('latin1'));
        scram.verify(random.bytes(random.below(60)).toString('latin1'));
        assert.fail('it believed noise');
      } catch (error) {
        assert.equal(
          (error as { code?: unknown }).code,
          refused.code,
          `round ${round}: ${String(error)}`,
        );
      }
    }
  });
});

describe('with PostgreSQL itself', () => {
  let home: string;
  let postgres: PostgresServer;
  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'chaperone-scram-'));
    chmodSync(home, 0o755); // root's PostgreSQL runs under an account of its own
    postgres = await startPostgres({
      home: preparePostgres(home, () => undefined),
      name: 'backend',
      logFile: join(home, 'log'),
      socketDirectory: join(home, 's'),
      tcpPort: undefined,
      settings: { fsync: 'off' },
    });
  });
  after(async () => {
    await postgres.stop(5_000);
    rmSync(home, { recursive: true, force: true });
  });

  const setPassword = async (password: string): Promise<string> =>
    postgres.administer('postgres', async (client) => {
      await client.query('DROP ROLE IF EXISTS agent');
      await client.query(`CREATE ROLE agent LOGIN PASSWORD ${client.escapeLiteral(password)}`);
      const { rows } = await client.query<{ verifier: string }>(
        "SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 'agent'",
      );
      return rows[0]?.verifier ?? '';
    });

  async function logIn(password: string): Promise<void> {
    const socket = connect(join(postgres.socketDirectory, `.s.PGSQL.${postgres.port}`));
    await once(socket, 'connect');
    const parameters = new Map([['user', 'agent'], ['database', 'postgres']]); // prettier-ignore
    const signal = AbortSignal.timeout(10_000);
    const credential = { type: 'Password', username: 'agent', password } as const;
    try {
      await logInToBackend(
        { socket, channel: 'loopback', endPoint: undefined },
        { credential, parameters, signal },
      );
    } finally {
      socket.destroy();
    }
  }

  /** Whether the verifier that the server made is that of the password as we prepare it. */
  function fits(verifier: string, password: string): boolean {
    const [, iterations = '', salt = '', stored] =
      /^SCRAM-SHA-256\$(\d+):(.*)\$(.*):/.exec(verifier) ?? [];
    const salted = pbkdf2Sync(
      password,
      Buffer.from(salt, 'base64'),
      Number(iterations),
      32,
      'sha256',
    );
    return createHash('sha256').update(hmac(salted, 'Client Key')).digest('base64') === stored;
  }

  const passwords = {
    'of ASCII': 'correct horse, battery=staple',
    'with accents': 'pässwörd',
    'that is written in two ways': 'pa\u0308ss',
    'with a no-break space': 'two\u00a0words',
    'with a soft hyphen': 'soft\u00adhyphen',
    'with a zero width space': 'zero\u200bwidth',
    'with a byte order mark': '\ufeffmark',
    'with a ligature and full width': 'ﬁｘ',
    'with a line separator, which is prohibited': 'a\u2028ﬁ',
    'with a control character': 'a\u0007ﬁ',
    'of emoji': '🐘🔒',
    'in Hebrew': 'סיסמה',
    'of soft hyphens alone': '\u00ad\u00ad',
  };
  for (const [what, password] of Object.entries(passwords)) {
    test(`logs in with a password ${what}`, async () => {
      await setPassword(password);
      await logIn(password);
    });
  }

  test('is refused with a wrong password', async () => {
    await setPassword('right');
    await assert.rejects(logIn('wrong'), { code: 'backend-login-failed' });
  });

  test('prepares random passwords as the server does, or says that it cannot', async () => {
    const random = new Random(4013);
    const alphabets = ['aZ7 ~', '\u00e9\u00df\u01c4\u0142', '\u0391\u03c9\u0416\u044f', '\u00a0\u2003\u200b\u3000', '\u00ad\u200d\ufeff\u2060',
      'ﬁ①ｱ㍿', '\u0301\u0308\u0323', '日本ひらカ가', '\u05d0\u0627', '\u2028\u200e\ue000\u0080', '🐘\u0560\u1e9e\u2c60', '\u0340\u1d2c\u2fff\ufffd']; // prettier-ignore
    let exact = 0;
    for (let round = 0; round < scaled(2_000); round += 1) {
      const used = Array.from({ length: 1 + random.below(3) }, () =>
        Array.from(random.pick(alphabets)),
      ).flat();
      const password = Array.from({ length: 1 + random.below(6) }, () => random.pick(used)).join(
        '',
      );
      let prepared: string;
      try {
        prepared = prepare(password);
      } catch {
        continue; // refused: the next password
      }
      exact += 1;
      assert.ok(fits(await setPassword(password), prepared), JSON.stringify(password));
    }
    assert.ok(exact > scaled(2_000) / 2);
  });

  test('refuses a password whose preparation is uncertain', () => {
    assert.throws(() => prepare('ﬁ🐘'), { code: 'backend-login-failed' });
  });
});
