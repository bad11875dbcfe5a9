import 'reflect-metadata'; // @peculiar/x509 wires its parts with it
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { parse, parseAllDocuments } from 'yaml';
import { effectiveOf, type Seen } from '../../cli/kubectl/effective.ts';
import { deniedCode } from '../../cli/verdict-words.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function plugin(args: readonly string[], { input = '', kubeconfig = '/dev/null' } = {}): Promise<Ran> {
  const program = join(projectDirectory, 'cli/kubectl/main.ts');
  return new Promise((resolve) => {
    const env = { ...process.env, KUBECONFIG: kubeconfig };
    const child = execFile(process.execPath, [program, ...args], { env, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code) : 0, out, error: err });
    });
    child.stdin?.end(input);
  });
} // prettier-ignore

const pod = (labels: Readonly<Record<string, string>>): Seen['pod'] => ({
  metadata: { name: 'analyst', labels },
  spec: { containers: [], serviceAccountName: 'analyst' },
});

const backend = (namespace: string): object => ({
  apiVersion: 'chaperone.dev/v1alpha1',
  kind: 'Backend',
  metadata: { name: 'chart-plugin-shop' },
  spec: {
    protocol: 'Postgres',
    hosts: ['chart-plugin-db'],
    ports: [5432],
    upstream: { address: 'db.example.com:5432', tls: { mode: 'VerifyFull' } },
    consumers: [{ namespace, serviceAccounts: ['analyst'] }],
    credential: { type: 'Password', secretRef: { name: 'shop-login' } },
  },
});

const policy = (namespace: string): object => ({
  apiVersion: 'chaperone.dev/v1alpha1',
  kind: 'AuditPolicy',
  metadata: { name: 'analysts', namespace },
  spec: {
    podSelector: { matchLabels: { app: 'analyst' } },
    mode: 'Enforce',
    defaultAction: 'Allow',
    rules: [
      {
        name: 'no-drop',
        backends: ['chart-plugin-shop'],
        anySubject: true,
        postgres: { commands: ['DROP'] },
        action: 'Deny',
      },
    ],
  },
});

describe('what applies to a pod', () => {
  const seen = (namespaceLabels: Seen['namespaceLabels'], labels = {}): Seen => ({
    namespace: 'shop',
    pod: pod({ app: 'analyst', ...labels }),
    namespaceLabels,
    objects: [backend('shop'), policy('shop')],
  });
  const enforce = { 'chaperone.dev/enforce': 'true' };
  const explicit = { 'chaperone.dev/mode': 'explicit' };
  const inject = { 'chaperone.dev/inject': 'true' };

  for (const [attachment, given, isSelected, login] of [
    ['Namespace', seen(enforce), true, 'shop-login'],
    ['Pod', seen({}, inject), true, undefined],
    ['Pod', seen({}), false, undefined],
    ['Explicit', seen({ ...enforce, ...explicit }), true, 'shop-login'],
    ['Explicit', seen(explicit, inject), true, 'shop-login'],
  ] as const) {
    test(`is attached by ${attachment} under ${JSON.stringify(given.namespaceLabels)}, ${isSelected ? '' : 'not '}selected`, () => {
      const effective = effectiveOf(given);
      assert.equal(effective.attachment, attachment);
      assert.equal(effective.isSelected, isSelected);
      const resolved = effective.bundle?.backends.get('chart-plugin-shop');
      assert.equal(resolved?.credential?.secretName, login);
    });
  }

  test('leaves out what cannot be read, and says why', () => {
    const broken = { ...policy('shop'), spec: { podSelector: {}, mode: 'Sometimes' } };
    const { bundle, heldBack } = effectiveOf({ ...seen(enforce), objects: [backend('shop'), broken] });
    assert.equal(bundle?.policy, undefined);
    assert.deepEqual(heldBack.map(({ name, problems }) => [name, problems.map(({ path }) => path)]), [
      ['AuditPolicy/shop/analysts', ['spec.mode']],
    ]);
  }); // prettier-ignore

  test('goes by the containers of a pod that is there, whatever its namespace says since', () => {
    const withParts = (...names: readonly string[]): Seen => {
      const { pod: given, ...rest } = seen({ ...enforce, ...explicit });
      const initContainers = names.map((name) => ({ name }));
      return { ...rest, pod: { ...given, spec: { ...given.spec, initContainers } } };
    };
    assert.equal(effectiveOf(withParts('chaperone')).attachment, 'Explicit');
    const transparent = effectiveOf(withParts('chaperone', 'chaperone-network'));
    assert.equal(transparent.attachment, 'Namespace');
    assert.equal(transparent.hasSidecar, true);
  });

  test('does not mind what contradicts each other elsewhere', () => {
    const spec = { ...Reflect.get(backend('elsewhere'), 'spec') };
    const others = ['one', 'two'].map((name) => ({ ...backend('x'), metadata: { name }, spec }));
    const { heldBack, bundle } = effectiveOf({
      ...seen(enforce),
      objects: [backend('shop'), ...others],
    });
    assert.deepEqual(heldBack, []);
    assert.deepEqual([...(bundle?.backends.keys() ?? [])], ['chart-plugin-shop']);
  });

  test('is nothing where resources contradict each other', () => {
    const double = { ...backend('shop'), metadata: { name: 'other' } };
    const { bundle, heldBack } = effectiveOf({ ...seen(enforce), objects: [backend('shop'), double] });
    assert.equal(bundle, undefined);
    assert.match(heldBack[0]?.problems[0]?.message ?? '', /belongs to .* already/);
  }); // prettier-ignore
});

describe('a preview of what is injected', () => {
  const container = { name: 'agent', image: 'example' };
  const objects = [
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'one' }, spec: { containers: [container] } },
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'two' }, spec: { template: { spec: { containers: [container] } } } },
    { apiVersion: 'batch/v1', kind: 'CronJob', metadata: { name: 'three' }, spec: { jobTemplate: { spec: { template: { spec: { containers: [container] } } } } } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'four' } },
  ]; // prettier-ignore
  const input = objects.map((object) => JSON.stringify(object)).join('\n---\n');

  test('shows pods and what makes pods with the uid that is given, and leaves the rest', async () => {
    const ran = await plugin(['inject', '-f', '-', '--uid', '1234567890'], { input });
    assert.equal(ran.code, 0, ran.error);
    const shown = parseAllDocuments(ran.out).map((document) => document.toJS() as object);
    assert.equal(shown.length, 4);
    assert.deepEqual(shown[3], objects[3]);
    for (const object of shown.slice(0, 3)) {
      const text = JSON.stringify(object);
      assert.match(text, /"initContainers":\[\{"name":"chaperone"/);
      assert.match(text, /uid=1234567890/);
      assert.match(text, /"runAsUser":1234567890/);
    }
    assert.doesNotMatch(ran.out, /&a1|\*a1/);
    assert.equal('kind' in (shown[2] as { spec: { jobTemplate: object } }).spec.jobTemplate, false);
  });

  test('has no rules for the network in explicit mode', async () => {
    const ran = await plugin(['inject', '-f', '-', '--explicit'], { input });
    assert.match(ran.out, /CHAPERONE_MODE\n +value: explicit/);
    assert.doesNotMatch(ran.out, /chaperone-network/);
  });

  test('says what would be refused, and ends with 1', async () => {
    const hostNetwork = { ...objects[0], spec: { hostNetwork: true, containers: [container] } };
    const ran = await plugin(['inject', '-f', '-'], { input: JSON.stringify(hostNetwork) });
    assert.equal(ran.code, 1);
    assert.match(ran.error, /^Pod\/one: refused: .*hostNetwork/m);
    assert.deepEqual(parse(ran.out), hostNetwork);
  });

  test('refuses a uid that is no sidecar’s, and text that is no YAML', async () => {
    assert.equal((await plugin(['inject', '-f', '-', '--uid', '0'], { input })).code, 2);
    const ran = await plugin(['inject', '-f', '-'], { input: 'a: [' });
    assert.equal(ran.code, 1);
    assert.doesNotMatch(ran.error, /\n\s+at /);
  });
});

describe('the plugin, in a cluster', { skip: withoutCluster }, () => {
  const name = 'chart-plugin';
  let running: Cluster;
  let definitions: AsyncDisposable;
  let namespace: Namespace;
  let kubeconfig: string;
  const kubectl = (...args: readonly string[]): Promise<Ran> => plugin(args, { kubeconfig });

  before(async () => {
    running = await cluster();
    ({ kubeconfig } = running);
    definitions = await running.definitions();
    namespace = await running.namespace(name);
    const image = await running.image();
    const { certificate, key } = await selfSigned(`chaperone-collector.${name}.svc`);
    const labels = { 'app.kubernetes.io/name': 'chaperone', 'app.kubernetes.io/component': 'collector' };
    const account = (of: string): object => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: of } });
    await namespace.apply([
      account('analyst'),
      account('auditor'),
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'chaperone-authorities' }, data: { 'collector.crt': certificate } },
      backend(name),
      policy(name),
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'analyst', labels: { app: 'analyst' } },
        spec: { serviceAccountName: 'analyst', nodeSelector: { nowhere: 'true' }, containers: [{ name: 'agent', image }] },
      },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'collector', labels },
        spec: {
          containers: [{
            name: 'collector',
            image,
            command: ['/usr/bin/node', '--eval', peer],
            env: [{ name: 'CERTIFICATE', value: certificate }, { name: 'KEY', value: key }],
            readinessProbe: { tcpSocket: { port: 15_480 }, periodSeconds: 1 },
          }],
        },
      },
    ]);
    await namespace.waitFor('pod/collector', 'condition=Ready');
  }); // prettier-ignore

  after(async () => {
    await running.kubectl(['delete', '--ignore-not-found', 'backend/chart-plugin-shop']);
    await namespace[Symbol.asyncDispose]();
    await definitions[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
  });

  test('says what applies to a pod, by what the API has', async () => {
    const { code, out, error } = await kubectl('explain', 'pod/analyst', '-n', name);
    assert.equal(code, 0, error);
    assert.match(out, /^pod +chart-plugin\/analyst, service account analyst$/m);
    assert.match(out, /^sidecar +none: no label asks for one/m);
    assert.match(out, /^attachment +Pod: /m);
    assert.match(out, /AuditPolicy\/chart-plugin\/analysts: Enforce, default Allow, 1 rule/);
    assert.match(out, /^chart-plugin-shop \| Postgres .* the agent's own$/m);
  });

  test('says what would become of SQL in a pod, and ends accordingly', async () => {
    const ask = ['explain', 'pod/analyst', '-n', name, '--backend', 'chart-plugin-shop'];
    const denied = await kubectl(...ask, 'DROP TABLE orders');
    assert.match(denied.out, /^DENIED by .*no-drop/);
    assert.equal(denied.code, deniedCode);
    const allowed = await kubectl(...ask, 'SELECT 1');
    assert.match(allowed.out, /^ALLOWED/);
    assert.equal(allowed.code, 0);
  });

  test('says in a sentence what is not there', async () => {
    const { code, error } = await kubectl('explain', 'pod/nobody', '-n', name);
    assert.equal(code, 1);
    assert.equal(error, 'chaperone: pod chart-plugin/nobody: it is not there\n');
  });

  const asAuditor = ['--system-namespace', name, '--as-service-account', `${name}/auditor`];

  test('reads sessions through the API server, as a ServiceAccount and over verified TLS', async () => {
    const { code, out, error } = await kubectl('sessions', '--json', '--who', 'ada', ...asAuditor);
    assert.equal(code, 0, error);
    const [session] = JSON.parse(out) as readonly [{ readonly backend: string }];
    // What the peer was asked, and by whom with which audience.
    assert.deepEqual(JSON.parse(session.backend), {
      url: '/v1/sessions?who=ada&limit=101',
      sub: `system:serviceaccount:${name}:auditor`,
      aud: ['chaperone-read'],
    });
  });

  test('believes no server whose authority is another', async () => {
    const { certificate } = await selfSigned(`chaperone-collector.${name}.svc`);
    const change = (text: string): Promise<void> =>
      namespace.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'chaperone-authorities' }, data: { 'collector.crt': text } }]);
    const { data } = JSON.parse(
      await namespace.kubectl(['get', 'configmap/chaperone-authorities', '--output=json']),
    ) as { data: Record<string, string> };
    await change(certificate);
    try {
      const { code, error } = await kubectl('sessions', ...asAuditor);
      assert.equal(code, 1);
      assert.match(error, /the collector at https:\/\/chaperone-collector.chart-plugin.svc does not answer \(.*(SIGNATURE|CERT)/);
    } finally {
      await change(data['collector.crt'] ?? '');
    }
  }); // prettier-ignore

  test('says who has to be named, and what is not ready', async () => {
    assert.equal((await kubectl('sessions', '--system-namespace', name)).code, 2);
    const { code, error } = await kubectl('kill', '01a20f9b-9895', ...asAuditor);
    assert.equal(code, 1);
    assert.match(error, /has no authority of the controller yet|no pod of the controller/);
  });
});

/** Answers with what it was asked, as a session. */
const peer = `
const { CERTIFICATE: cert, KEY: key } = process.env;
require('node:https').createServer({ cert, key }, ({ url, headers }, response) => {
  const { sub, aud } = JSON.parse(Buffer.from(headers.authorization.split('.')[1], 'base64url'));
  const session = { id: 'a', backend: JSON.stringify({ url, sub, aud }), startedAt: '2026-01-31T12:00:00Z' };
  response.end(JSON.stringify({ sessions: [session], next: null }));
}).listen(15480);`;

async function selfSigned(host: string): Promise<{ readonly certificate: string; readonly key: string }> {
  const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
  const keys = await crypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
  const made = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=a collector',
    keys,
    signingAlgorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
  });
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return {
    certificate: made.toString('pem'),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
} // prettier-ignore
