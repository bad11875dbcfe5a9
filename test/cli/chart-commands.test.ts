import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectDirectory } from '../../cli/instance.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

describe('what the chart runs of the command line', { skip: withoutCluster }, () => {
  const name = 'chart-commands';
  let running: Cluster;
  let definitions: AsyncDisposable;
  let namespace: Namespace;

  const chaperone = (...args: readonly string[]): Promise<Ran> =>
    new Promise((resolve) => {
      const program = join(projectDirectory, 'cli/main.ts');
      const env = { ...process.env, KUBECONFIG: running.kubeconfig };
      execFile(process.execPath, [program, ...args], { env, timeout: 60_000 }, (error, out, err) => {
        resolve({ code: error ? Number(error.code) : 0, out, error: err });
      });
    }); // prettier-ignore

  const secret = async (of: string): Promise<Readonly<Record<string, string>>> => {
    const text = await namespace.kubectl(['get', `secret/${of}`, '--output=json']);
    const { data } = JSON.parse(text) as { readonly data: Record<string, string> };
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
    );
  };

  before(async () => {
    running = await cluster();
    definitions = await running.definitions();
    namespace = await running.namespace(name);
  });
  after(async () => {
    await namespace[Symbol.asyncDispose]();
    await definitions[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
  });

  test('makes the key of evidence once, and leaves it alone ever after', async () => {
    const first = await chaperone('collector-key', '--namespace', name);
    assert.equal(first.code, 0, first.error);
    const made = await secret('chaperone-collector-key');
    assert.equal(createPrivateKey(made['key.pem'] ?? '').asymmetricKeyType, 'ed25519');
    const second = await chaperone('collector-key', '--namespace', name);
    assert.equal(second.out, `Secret ${name}/chaperone-collector-key is there\n`);
    assert.deepEqual(await secret('chaperone-collector-key'), made);
    assert.doesNotMatch(first.out + second.out, /PRIVATE/);
  });

  test('makes the password of the bundled database once, and the URL that has it', async () => {
    assert.equal((await chaperone('trial-database', '--namespace', name)).code, 0);
    const made = await secret('chaperone-database');
    const url = new URL(made['url'] ?? '');
    assert.equal(url.password, made['password']);
    assert.ok(url.password.length >= 32, 'a long password');
    assert.equal(url.host, `chaperone-postgres.${name}.svc:5432`);
    assert.equal((await chaperone('trial-database', '--namespace', name)).code, 0);
    assert.deepEqual(await secret('chaperone-database'), made);
  });

  test('says in a sentence that a Secret cannot be made', async () => {
    const { code, error } = await chaperone('collector-key', '--namespace', 'chart-nowhere');
    assert.equal(code, 1);
    assert.match(error, /^chaperone: Secret chart-nowhere\/chaperone-collector-key cannot be made: the Kubernetes API says 404\n$/); // prettier-ignore
    assert.equal((await chaperone('collector-key')).code, 2);
  });

  test('makes a policy once, and keeps what somebody has made of it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chart-'));
    const file = join(directory, 'policy.yaml');
    const policy = {
      apiVersion: 'chaperone.dev/v1alpha1',
      kind: 'ClusterAuditPolicy',
      metadata: { name: 'chart-commands' },
      spec: { podSelector: { matchLabels: { of: 'chart-commands' } }, mode: 'Observe' },
    };
    writeFileSync(file, JSON.stringify(policy));
    try {
      const first = await chaperone('baseline', '--file', file);
      assert.equal(first.out, 'the policy was made\n', first.error);
      const change = '{"spec":{"mode":"Enforce"}}';
      await running.kubectl(['patch', 'clusterauditpolicy/chart-commands', '--type=merge', `--patch=${change}`]); // prettier-ignore
      assert.equal((await chaperone('baseline', '--file', file)).out, 'the policy is there\n');
      const mode = await running.kubectl(['get', 'clusterauditpolicy/chart-commands', '--output=jsonpath={.spec.mode}']); // prettier-ignore
      assert.equal(mode, 'Enforce');
    } finally {
      await running.kubectl(['delete', '--ignore-not-found', 'clusterauditpolicy/chart-commands']);
      rmSync(directory, { recursive: true });
    }
  });

  test('does not try again what the cluster finds wrong', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chart-'));
    const file = join(directory, 'policy.yaml');
    const policy = {
      apiVersion: 'chaperone.dev/v1alpha1',
      kind: 'ClusterAuditPolicy',
      metadata: { name: 'chart-commands' },
      spec: { podSelector: {}, mode: 'Sometimes' },
    };
    writeFileSync(file, JSON.stringify(policy));
    const { code, error } = await chaperone('baseline', '--file', file);
    rmSync(directory, { recursive: true });
    assert.equal(code, 1);
    assert.match(error, /^chaperone: the policy is not taken: .*spec\.mode/);
  });

  test('removes webhook configurations, also where there are none', async () => {
    const configuration = (kind: string): object => ({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind,
      metadata: { name: 'chart-commands' },
      webhooks: [],
    });
    const kinds = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];
    await namespace.apply(kinds.map(configuration));
    const first = await chaperone('uninstall-webhooks', '--name', 'chart-commands');
    assert.equal(first.code, 0, first.error);
    assert.equal(first.out, kinds.map((kind) => `${kind} chart-commands was removed\n`).join(''));
    const second = await chaperone('uninstall-webhooks', '--name', 'chart-commands');
    assert.equal(second.code, 0, second.error);
    assert.equal(second.out, kinds.map((kind) => `${kind} chart-commands is not there\n`).join(''));
  });

  test('shows none of these commands to people', async () => {
    const { out } = await chaperone('--help');
    assert.match(out, /^ {2}sessions /m);
    assert.doesNotMatch(out, /collector-key|trial-database|baseline|uninstall/);
  });
});
