import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  checkServerIdentity,
  connect as connectTls,
  rootCertificates,
  TLSSocket,
  type PeerCertificate,
} from 'node:tls';
import { PodTls } from '../../../sidecar/trust/agent-tls.ts';
import { CertificateWorker } from '../../../sidecar/trust/certificate-worker.ts';
import { providePodAuthority, writeTrust } from '../../../sidecar/trust/pod-authority.ts';
import { shop } from '../../support/policies.ts';

const worker = new CertificateWorker();
const directories: string[] = [];

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'chaperone-trust-'));
  directories.push(made);
  return made;
}

after(() => {
  for (const made of directories) rmSync(made, { recursive: true });
});

describe('the authority of a pod', () => {
  test('is the same after a restart, and its key nobody else can read', async () => {
    const memory = directory();
    const first = await providePodAuthority(memory, worker, Date.now());
    const second = await providePodAuthority(memory, new CertificateWorker(), Date.now());
    assert.deepEqual(second, first);
    for (const file of readdirSync(memory))
      assert.equal(statSync(join(memory, file)).mode & 0o777, 0o600);
  });

  test('is made anew where what is left of it is damaged, or about to end', async () => {
    const memory = directory();
    const first = await providePodAuthority(memory, worker, Date.now());
    const other = await providePodAuthority(directory(), worker, Date.now());
    const [file = ''] = readdirSync(memory);
    const left = [
      ['half a file', JSON.stringify(first).slice(0, 400), Date.now()],
      ["another's key", JSON.stringify({ ...first, key: other.key }), Date.now()],
      ['not JSON of a pair', '[]', Date.now()],
      ['in its last days', JSON.stringify(first), Date.parse(new X509Certificate(first.cert).validTo) - 86_400_000], // prettier-ignore
    ] as const;
    for (const [what, content, nowMs] of left) {
      writeFileSync(join(memory, file), content);
      const made = await providePodAuthority(memory, worker, nowMs);
      assert.notEqual(made.cert, first.cert, what);
      assert.deepEqual(JSON.parse(readFileSync(join(memory, file), 'utf8')), made, what);
    }
    assert.equal(readdirSync(memory).length, 1);
  });
});

describe('what agents are to trust', () => {
  const trust = directory();
  let certificate = '';

  before(async () => {
    const authority = await providePodAuthority(directory(), worker, Date.now());
    await writeTrust(trust, authority, worker);
    await writeTrust(trust, authority, worker); // as after a restart
    certificate = authority.cert;
  });

  test('is a file of public authorities and the own one, without a key', () => {
    const text = readFileSync(join(trust, 'ca.crt'), 'utf8');
    const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    const own = new X509Certificate(certificate).fingerprint256;
    const all = new Set(found.map((pem) => new X509Certificate(pem).fingerprint256));
    assert.ok(all.delete(own));
    assert.deepEqual(all, new Set(rootCertificates.map((pem) => new X509Certificate(pem).fingerprint256))); // prettier-ignore
    assert.doesNotMatch(text, /PRIVATE KEY/);
  });

  test('is what every program of the pod can read, and nothing besides', () => {
    assert.deepEqual(readdirSync(trust).sort(), ['ca.crt', 'ca.p12']);
    for (const file of readdirSync(trust))
      assert.equal(statSync(join(trust, file)).mode & 0o777, 0o644);
  });

  const noJava =
    process.platform === 'linux' ? false : 'Java is installed for tests on Linux alone';
  test(
    'is a store that Java opens with its usual password, and trusts all of',
    { skip: noJava },
    () => {
      const store = ['-keystore', join(trust, 'ca.p12'), '-storetype', 'PKCS12'];
      const listed = execFileSync('keytool', ['-list', ...store, '-storepass', 'changeit'], {
        encoding: 'utf8',
      });
      assert.equal(listed.match(/trustedCertEntry/g)?.length, rootCertificates.length + 1);
      assert.ok(listed.includes(new X509Certificate(certificate).fingerprint256));
    },
  );

  test('is a store that OpenSSL reads', () => {
    const args = ['pkcs12', '-in', join(trust, 'ca.p12'), '-passin', 'pass:changeit'];
    const listed = execFileSync('openssl', [...args, '-nokeys', '-nomacver'], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
    assert.equal(listed.match(/BEGIN CERTIFICATE/g)?.length, rootCertificates.length + 1);
  });
});

describe('an agent that speaks TLS', () => {
  let ca = '';
  let tls: PodTls;

  before(async () => {
    const authority = await providePodAuthority(directory(), worker, Date.now());
    ca = authority.cert;
    tls = new PodTls(authority, worker);
  });

  test('is shown a certificate for the name that it gives, whatever that is called', async () => {
    for (const name of ['shop-db', 'Orders.DB.Example.com', `${'a'.repeat(63)}.example.com`]) {
      const shown = await handshake({ servername: name });
      assert.match(shown.subjectaltname ?? '', new RegExp(`^DNS:${name.toLowerCase()}$`));
    }
  });

  test('that gives none is shown one for all names of the Backend', async () => {
    const shown = await handshake({ host: 'shop.db.example.com', servername: '' });
    assert.match(shown.subjectaltname ?? '', /DNS:shop-db, DNS:shop\.db\.example\.com/);
  });

  test('that dials by an address, of the Backend or of the sidecar itself, is shown one for it', async () => {
    for (const host of ['127.0.0.1', '::1', 'localhost', '10.96.0.7', 'fd10::7']) {
      const hosts = [...shop.hosts, '10.96.0.7', 'fd10::7'];
      await handshake({ host, servername: '' }, hosts);
    }
  });

  test('and gives a name that is none is shown the one of the Backend', async () => {
    const shown = await handshake({ host: 'shop-db', servername: 'not a name!' });
    assert.match(shown.subjectaltname ?? '', /DNS:shop-db/);
  });

  test('is shown the same certificate again, while no more names are asked for than are kept', async () => {
    const first = await handshake({ servername: 'again.example.com' });
    const second = await handshake({ servername: 'again.example.com' });
    assert.equal(second.fingerprint256, first.fingerprint256);
  });

  /** Shakes hands as a client that insists on the right name, and returns what it was shown. */
  async function handshake(
    client: { readonly host?: string; readonly servername: string },
    hosts: readonly string[] = shop.hosts,
  ): Promise<PeerCertificate> {
    const secureContext = await tls.contextFor({ ...shop, hosts });
    const server = createServer((socket) => {
      const secure = new TLSSocket(socket, {
        isServer: true,
        secureContext,
        SNICallback: (name, done) =>
          void tls.contextForName(name).then((context) => done(null, context), done),
      });
      secure.on('error', () => undefined); // the client says what is wrong
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1'); // a TCP server's address is one
    const { servername, host = servername } = client;
    const secure = connectTls({
      socket,
      ca,
      servername,
      checkServerIdentity: (_, shown) => checkServerIdentity(host, shown),
    });
    try {
      await once(secure, 'secureConnect');
      return secure.getPeerCertificate();
    } finally {
      secure.destroy();
      server.close();
    }
  }
});
