import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ResourceProblem } from '#core/control.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import { BundleDirectory } from '../../sidecar/bundle-directory.ts';
import { until } from '../support/until.ts';

const apiVersion = 'apiVersion: chaperone.dev/v1alpha1';
const policy = (spec: string, name = 'p'): string => `${apiVersion}
kind: AuditPolicy
metadata: { name: ${name}, namespace: local }
spec:
  podSelector: {}
  ${spec}
`;
const backend = (secret = 'login', name = 'shop'): string => `${apiVersion}
kind: Backend
metadata: { name: ${name} }
spec:
  protocol: Postgres
  hosts: [shop-db]
  ports: [5432]
  upstream: { address: 'shop-db:5432', tls: { mode: Disable } }
  consumers: [{ namespace: local }]
  credential:
    type: Password
    secretRef:
      name: ${secret}
`;
const provider = (host = 'issuer.test', name = 'idp'): string => `${apiVersion}
kind: IdentityProvider
metadata: { name: ${name} }
spec: { issuer: 'http://${host}', audiences: [a], jwksUri: 'http://${host}/keys' }
`;
const observe = policy('mode: Observe');
const enforce = policy('mode: Enforce');

type Said =
  | { readonly bundle: Bundle; readonly problems?: never }
  | { readonly bundle?: never; readonly problems: readonly ResourceProblem[] };

type Connections = ReadonlyMap<string, { host: string; port: number }>;

/** A directory that is watched until the test is over, and what is said about it, in order and each once. */
function setUp(
  context: TestContext,
  files: Readonly<Record<string, string | Buffer>>,
  connectTo: Connections = new Map(),
) {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-bundle-'));
  const directory = join(home, 'config');
  context.after(() => rmSync(home, { recursive: true, force: true }));
  mkdirSync(directory);
  const write = (name: string, text: string | Buffer): void =>
    writeFileSync(join(directory, name), text);
  for (const [name, text] of Object.entries(files)) write(name, text);
  return { home, directory, write, ...watchDirectory(context, directory, connectTo) };
}

function watchDirectory(
  context: TestContext,
  directory: string,
  connectTo: Connections = new Map(),
  { namespace = 'local', secret = 'login' } = {},
) {
  const stop = new AbortController();
  context.after(() => stop.abort());
  const said: Said[] = [];
  let heard: (() => void) | undefined;
  const hear = (what: Said): void => {
    said.push(what);
    heard?.();
  };
  const keyFailures: string[] = [];
  const bundles = new BundleDirectory({
    directory,
    workload: { pod: 'p', namespace, serviceAccount: 'agent', labels: new Map() },
    connectTo,
    credentials: new Map([[secret, 'Password']]),
    onBundle: (bundle) => hear({ bundle }),
    onRefused: (problems) => hear({ problems }),
    onKeysFailed: (name) => keyFailures.push(name),
    signal: stop.signal,
  });
  const next = async (): Promise<Said> => {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const first = said.shift();
      if (first) return first;
      assert.ok(performance.now() < deadline, 'nothing was said');
      await new Promise<void>((resolve) => {
        heard = resolve;
        setTimeout(resolve, 30_000).unref();
      });
    }
  };
  return {
    bundles,
    stop,
    said,
    keyFailures,
    nextBundle: async (): Promise<Bundle> => {
      const { bundle, problems } = await next();
      assert.ok(bundle, JSON.stringify(problems));
      return bundle;
    },
    nextRefusal: async (): Promise<string[]> => {
      const { problems } = await next();
      assert.ok(problems, 'a bundle was delivered');
      return problems.map(
        ({ file, line, path, message }) =>
          `${file.replace(`${directory}/`, '')}:${line}: ${path}: ${message}`,
      );
    },
  };
}

/**
 * Edits back and forth until one edit is in force sooner than the poll, which begins anew when something is said, could
 * have seen it. A machine that is slow for a while only takes more of them.
 */
async function assertWatched({ nextBundle, write }: ReturnType<typeof setUp>): Promise<void> {
  for (let tried = 0; tried < 10; tried += 1) {
    const edited = performance.now();
    write('p.yaml', tried % 2 === 0 ? enforce : observe);
    assert.equal((await nextBundle()).policy?.enforcing, tried % 2 === 0);
    if (performance.now() - edited < 1_900) return;
  }
  assert.fail('every edit has waited for the poll');
}

async function startIssuer(context: TestContext, port = 0) {
  let kid = '1';
  let asked = 0;
  const server = createServer((_, response) => {
    asked += 1;
    const key = { kty: 'EC', crv: 'P-256', kid, x: 'eA', y: 'eQ' };
    response.end(JSON.stringify({ keys: [key] }));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }; // a TCP server's address is one
  return {
    address,
    connectTo: new Map([['issuer.test:80', address]]),
    rotate: () => (kid = String(Number(kid) + 1)),
    asked: () => asked,
  };
}

const kidsOf = (bundle: Bundle | undefined): unknown[] =>
  (bundle?.providers ?? []).flatMap(({ keys }) => keys.map((key) => key.kid));

describe('a watched directory', () => {
  test('gives a bundle out of all its files, documents and issuers', async (context) => {
    const { connectTo } = await startIssuer(context);
    const files = {
      'a.yaml': backend(),
      'b.yml': `${observe}---\n${provider()}`,
      'c.txt': 'not ours',
      '.d.yaml': '}',
    };
    const { nextBundle } = setUp(context, files, connectTo);
    const bundle = await nextBundle();
    assert.deepEqual([...bundle.backends.keys()], ['shop']);
    assert.equal(bundle.policy?.enforcing, false);
    assert.deepEqual(kidsOf(bundle), ['1']);
  });

  const edits: [how: string, edit: (directory: string, home: string) => void][] = [
    ['written in place', (directory) => writeFileSync(join(directory, 'p.yaml'), enforce)],
    [
      'written beside and renamed, as editors do',
      (directory) => {
        writeFileSync(join(directory, '.p.yaml.swp'), enforce);
        renameSync(join(directory, 'p.yaml'), join(directory, 'p.yaml~'));
        renameSync(join(directory, '.p.yaml.swp'), join(directory, 'p.yaml'));
      },
    ],
    [
      'removed and put under another name',
      (directory) => {
        rmSync(join(directory, 'p.yaml'));
        writeFileSync(join(directory, 'q.yml'), enforce);
      },
    ],
  ];
  for (const [how, edit] of edits) {
    test(`is in force when a file is ${how}`, async (context) => {
      const { directory, home, nextBundle } = setUp(context, { 'p.yaml': observe });
      await nextBundle();
      edit(directory, home);
      assert.equal((await nextBundle()).policy?.enforcing, true);
    });
  }

  test('is followed at once, not only at the next poll', async (context) => {
    const watched = setUp(context, { 'p.yaml': observe });
    await watched.nextBundle();
    await assertWatched(watched);
  });

  test('is followed through the links of a mounted ConfigMap', async (context) => {
    const { directory, nextBundle } = setUp(context, {});
    await nextBundle();
    mkdirSync(join(directory, '..1'));
    writeFileSync(join(directory, '..1', 'p.yaml'), observe);
    symlinkSync('..1', join(directory, '..data'));
    symlinkSync('..data/p.yaml', join(directory, 'p.yaml'));
    assert.equal((await nextBundle()).policy?.enforcing, false);
    mkdirSync(join(directory, '..2'));
    writeFileSync(join(directory, '..2', 'p.yaml'), enforce);
    symlinkSync('..2', join(directory, '..new'));
    renameSync(join(directory, '..new'), join(directory, '..data'));
    assert.equal((await nextBundle()).policy?.enforcing, true);
  });

  test('is followed when it is replaced, and then watched again', async (context) => {
    const watched = setUp(context, { 'p.yaml': enforce });
    const { directory, home, nextBundle, write } = watched;
    await nextBundle();
    renameSync(directory, join(home, 'old'));
    mkdirSync(directory);
    write('p.yaml', observe);
    assert.equal((await nextBundle()).policy?.enforcing, false);
    await assertWatched(watched);
  });

  test('says nothing of an edit that changes nothing', async (context) => {
    const { directory, nextBundle, write } = setUp(context, { 'p.yaml': observe });
    const before = await nextBundle();
    const witness = watchDirectory(context, directory, new Map(), { namespace: 'elsewhere' });
    await witness.nextBundle();
    write('p.yaml', `# a remark\n${observe}`);
    write('q.yaml', observe.replace('name: p, namespace: local', 'name: q, namespace: elsewhere'));
    assert.equal((await witness.nextBundle()).policy?.enforcing, false); // so it has been read
    write('p.yaml', enforce);
    const after = await nextBundle();
    assert.equal(after.policy?.enforcing, true);
    assert.notEqual(after.revision, before.revision);
  });

  test('is not judged while a file is empty because somebody is writing it', async (context) => {
    const { directory, nextBundle, said, write } = setUp(context, { 'p.yaml': observe });
    await nextBundle();
    // A writer that is slower than the time for which changes are gathered, 100 ms, and faster than two readings.
    await until('a writer has kept its time', async () => {
      const emptied = performance.now();
      truncateSync(join(directory, 'p.yaml'));
      await delay(150);
      write('p.yaml', enforce);
      const inTime = performance.now() - emptied < 190;
      const { policy: inForce } = await nextBundle();
      if (inTime) assert.equal(inForce?.enforcing, true);
      else if (!inForce) await nextBundle();
      write('p.yaml', observe);
      await nextBundle();
      return inTime;
    });
    assert.deepEqual(said, []);
  });

  test('is left alone once it is stopped', async (context) => {
    const { directory, nextBundle, said, stop, write } = setUp(context, { 'p.yaml': observe });
    await nextBundle();
    const witness = watchDirectory(context, directory);
    await witness.nextBundle();
    stop.abort();
    write('p.yaml', enforce);
    assert.equal((await witness.nextBundle()).policy?.enforcing, true);
    assert.deepEqual(said, []);
  });
});

describe('a bad change', () => {
  test('is refused with file, line and path of every mistake, and the bundle before stays', async (context) => {
    const { nextBundle, nextRefusal, write } = setUp(context, { 'p.yaml': observe });
    const before = await nextBundle();
    write(
      'p.yaml',
      `${observe}  modus: x\n  record:\n    maxBytes: many\n---\n${backend().replace('ports: [5432]', 'ports: [5432, 0]')}`,
    );
    assert.deepEqual(await nextRefusal(), [
      'p.yaml:9: spec.record.maxBytes: got "many", want an integer from 0 to 1125899906842624',
      'p.yaml:7: spec.modus: unknown field',
      'p.yaml:17: spec.ports[1]: got 0, want an integer from 1 to 65535',
    ]);
    write('p.yaml', observe);
    assert.equal((await nextBundle()).revision, before.revision);
  });

  test('is told once, whatever else is edited before it is mended', async (context) => {
    const { directory, nextBundle, nextRefusal, write } = setUp(context, { 'p.yaml': observe });
    await nextBundle();
    write('b.yaml', backend('other'));
    assert.match((await nextRefusal()).join(), /there is no credential named "other"$/);
    const witness = watchDirectory(context, directory, new Map(), { secret: 'other' });
    await witness.nextBundle();
    write('p.yaml', enforce);
    assert.equal((await witness.nextBundle()).policy?.enforcing, true); // so it has been judged again
    write('b.yaml', backend());
    assert.equal((await nextBundle()).policy?.enforcing, true);
  });

  test('says where a reference leads nowhere, a name is taken, and an address', async (context) => {
    const { nextRefusal, write } = setUp(context, {
      'a.yaml': `${observe}---\n${backend('none')}`,
    });
    assert.deepEqual(await nextRefusal(), [
      'a.yaml:20: spec.credential.secretRef.name: there is no credential named "none"',
    ]);
    write('a.yaml', backend());
    write('b.yaml', `# a remark\n${backend()}---\n${backend('login', 'other')}`);
    assert.deepEqual(await nextRefusal(), [
      'b.yaml:4: metadata.name: Backend/shop is defined twice',
      'b.yaml:21: spec.hosts: shop-db:5432 belongs to Backend/shop already',
    ]);
    write('a.yaml', policy('identity: Token'));
    write('b.yaml', '');
    assert.deepEqual(await nextRefusal(), [
      'a.yaml:6: spec.identity: Token needs an IdentityProvider; there is none among these resources',
    ]);
  });

  test('says where a label is whose name has dots', async (context) => {
    const labels = `${apiVersion}\nkind: AuditPolicy\nmetadata: { name: p, namespace: local }\nspec:\n  podSelector:\n    matchLabels:\n      app: a\n      example.com/a.b: [1]\n`;
    const { nextRefusal } = setUp(context, { 'a.yaml': labels });
    assert.deepEqual(await nextRefusal(), [
      'a.yaml:8: spec.podSelector.matchLabels["example.com/a.b"]: got a list, want a label value',
    ]);
  });

  test('at the start leaves everything refused until it is mended', async (context) => {
    const { directory, nextBundle, nextRefusal, write } = setUp(context, { 'p.yaml': 'spec: [' });
    assert.match((await nextRefusal()).join(), /^p\.yaml:1: : /);
    rmSync(directory, { recursive: true });
    assert.match((await nextRefusal()).join(), /cannot be read: is it a directory\?$/);
    mkdirSync(directory);
    write('p.yaml', enforce);
    assert.equal((await nextBundle()).policy?.enforcing, true);
  });

  const bomb = ['a: &a [x, x]', ...'bcdefgh'.split('').map((name, index) => {
    const before = String.fromCharCode(97 + index);
    return `${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(', ')}]`;
  })].join('\n'); // prettier-ignore
  const hostile: [what: string, text: string | Buffer, want: RegExp][] = [
    ['aliases that stand for gigabytes', bomb, /^x\.yaml:1: : Excessive alias count/],
    ['an alias of itself', '&a [*a]', /^x\.yaml:1: : got a list, want a resource/],
    ['an alias of itself as a kind', `${apiVersion}\nkind: &a [*a]`, /^x\.yaml:2: kind: got a list/],
    ['a tab as indentation', 'a:\n\tb: 1', /^x\.yaml:2: : Tabs are not allowed/],
    ['a key twice', 'a: 1\na: 2', /^x\.yaml:2: : the key stands twice/],
    ['a tag that means code elsewhere', 'a: 1\nb: !!js/function x', /^x\.yaml:2: : Unresolved tag/],
    ['a key twice in a megabyte of them', `${Array.from({ length: 100_000 }, (_, i) => `k${i}: 1`).join('\n')}\nk0: 2`, /^x\.yaml:100001: : the key stands twice/],
    ['an alias as a key', 'a: &a x\n*a : 1', /^x\.yaml:2: : a key has to be a plain value/],
    ['an alias of nothing', 'a: *b', /^x\.yaml:1: : Unresolved alias/],
    ['nesting without an end', '['.repeat(20_000), /^x\.yaml:1: : /],
    ['a list as a key', `${apiVersion}\n? [kind]\n: Backend`, /^x\.yaml:2: : a key has to be a plain value/],
    ['names that objects inherit', '{__proto__: {kind: Backend}, constructor: 1}', /^x\.yaml:1: apiVersion: missing/],
    ['bytes that are not UTF-8', Buffer.from([0x61, 0x3a, 0xff, 0xfe]), /^x\.yaml:1: : is not UTF-8/],
    ['NUL', 'a: \0\0', /^x\.yaml:1: /],
    ['more than a megabyte', 'x'.repeat(1024 * 1024 + 1), /^x\.yaml:1: : is larger than 1 MiB/],
    ['a megabyte of mistakes', `a: {${Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join(', ')}}`, /missing/],
    [
      'more resources than anybody has',
      Array.from({ length: 1_001 }, (_, i) => policy('mode: Observe', `p${i}`)).join('---\n'),
      /^x\.yaml:7001: : there are more than 1000 resources/,
    ],
  ]; // prettier-ignore
  for (const [what, text, want] of hostile) {
    test(`is survived, and mended, when it is ${what}`, async (context) => {
      const { nextBundle, nextRefusal, write } = setUp(context, { 'x.yaml': text });
      const problems = await nextRefusal();
      assert.ok(problems.length > 0 && problems.length <= 100);
      assert.match(problems[0] ?? '', want);
      assert.ok(problems.every((problem) => problem.length < 400));
      write('x.yaml', observe);
      await nextBundle();
    });
  }

  test('is survived when a name leads to a pipe, a directory or nowhere', async (context) => {
    const { directory, nextBundle, nextRefusal } = setUp(context, { 'p.yaml': observe });
    await nextBundle();
    execFileSync('mkfifo', [join(directory, 'pipe.yaml')]);
    assert.deepEqual(await nextRefusal(), ['pipe.yaml:1: : is not a file']);
    rmSync(join(directory, 'pipe.yaml'));
    await nextBundle();
    mkdirSync(join(directory, 'd.yaml'));
    assert.deepEqual(await nextRefusal(), ['d.yaml:1: : is not a file']);
    rmSync(join(directory, 'd.yaml'), { recursive: true });
    await nextBundle();
    symlinkSync('nowhere', join(directory, 'link.yaml'));
    assert.deepEqual(await nextRefusal(), ['link.yaml:1: : cannot be read']);
  });

  test('is refused when there are more files than anybody needs', async (context) => {
    const { nextBundle, nextRefusal, directory, write } = setUp(context, { 'p.yaml': observe });
    await nextBundle();
    for (let count = 0; count < 100; count += 1) write(`f${count}.yaml`, '');
    assert.match((await nextRefusal()).join(), /holds more than 100 files$/);
    rmSync(join(directory, 'f0.yaml'));
    await nextBundle();
  });
});

describe('issuers of a watched directory', () => {
  const withIssuer = `${observe}---\n${provider()}`;

  test('may be down: the bundle holds without their keys, and gets them later', async (context) => {
    const first = await startIssuer(context);
    const free = first.address.port;
    const connectTo = new Map([['issuer.test:80', { host: '127.0.0.1', port: 1 }]]);
    const { nextBundle, keyFailures } = setUp(context, { 'p.yaml': withIssuer }, connectTo);
    assert.deepEqual(kidsOf(await nextBundle()), []);
    assert.deepEqual(keyFailures, ['idp']);
    connectTo.set('issuer.test:80', { host: '127.0.0.1', port: free });
    assert.deepEqual(kidsOf(await nextBundle()), ['1']);
  });

  test('may be slow: an edit does not wait for one', async (context) => {
    const silent = createServer(() => undefined);
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    context.after(() => {
      silent.close();
      silent.closeAllConnections();
    });
    const { port } = silent.address() as AddressInfo; // a TCP server's address is one
    const connectTo = new Map([['issuer.test:80', { host: '127.0.0.1', port }]]);
    const { keyFailures, nextBundle, write } = setUp(context, { 'p.yaml': observe }, connectTo);
    await nextBundle();
    write('p.yaml', `${enforce}---\n${provider()}`);
    assert.equal((await nextBundle()).policy?.enforcing, true);
    write('p.yaml', withIssuer);
    assert.equal((await nextBundle()).policy?.enforcing, false);
    assert.deepEqual(keyFailures, []); // the issuer is still waited for
  });

  test('may change their keys: whoever comes with a new one meanwhile shares one fetch', async (context) => {
    const issuer = await startIssuer(context);
    const { bundles, nextBundle, said } = setUp(
      context,
      { 'p.yaml': withIssuer },
      issuer.connectTo,
    );
    await nextBundle();
    issuer.rotate();
    const all = await Promise.all([1, 2, 3].map(() => bundles.refreshKeys('idp')));
    for (const providers of all)
      assert.deepEqual(
        providers?.flatMap(({ keys }) => keys.map(({ kid }) => kid)),
        ['2'],
      );
    assert.deepEqual(kidsOf(await nextBundle()), ['2']);
    assert.equal(issuer.asked(), 2);
    assert.equal(await bundles.refreshKeys('idp'), undefined);
    assert.equal(await bundles.refreshKeys('another'), undefined);
    assert.deepEqual([said, issuer.asked()], [[], 2]);
  });

  test('keep their keys current while a bad change is refused', async (context) => {
    const issuer = await startIssuer(context);
    const { bundles, nextBundle, nextRefusal, write } = setUp(
      context,
      { 'p.yaml': withIssuer },
      issuer.connectTo,
    );
    const before = await nextBundle();
    write('p.yaml', 'spec: [');
    await nextRefusal();
    issuer.rotate();
    await bundles.refreshKeys('idp');
    const after = await nextBundle();
    assert.deepEqual(kidsOf(after), ['2']);
    assert.equal(after.revision, before.revision);
    write('p.yaml', withIssuer);
    assert.deepEqual(kidsOf(await nextBundle()), ['2']);
  });

  test('are asked once, however often files are edited', async (context) => {
    const issuer = await startIssuer(context);
    const { nextBundle, write } = setUp(context, { 'p.yaml': withIssuer }, issuer.connectTo);
    await nextBundle();
    for (const edited of [enforce, observe, enforce]) {
      write('p.yaml', `${edited}---\n${provider()}`);
      assert.deepEqual(kidsOf(await nextBundle()), ['1']);
    }
    assert.equal(issuer.asked(), 1);
  });
});
