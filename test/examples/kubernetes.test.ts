import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { parseResource } from '#core/policy/parse.ts';
import { answer } from '#core/policy/question.ts';
import { compilePolicies } from '#core/policy/compile.ts';
import { resolve } from '#core/policy/resolve.ts';
import type { Resource } from '#core/policy/resources.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { TextReader } from '../../cli/text-reader.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';

const directory = join(projectDirectory, 'examples/kubernetes');
const files = readdirSync(directory).filter((file) => file.endsWith('.yaml'));
const read = (file: string): string => readFileSync(join(directory, file), 'utf8');

interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

const manifests = (file: string): readonly Manifest[] =>
  parseAllDocuments(read(file)).map((document) => document.toJS() as Manifest);

function resourceOf(file: string): Resource {
  const [manifest] = manifests(file);
  const { resource, problems } = parseResource(manifest);
  assert.ok(resource, JSON.stringify(problems));
  return resource;
}

/** What the analyst of the example gets for a text. */
async function verdictOn(text: string, policyFile: string): Promise<string> {
  const workload = {
    pod: 'analyst-1',
    namespace: 'shop',
    serviceAccount: 'analyst',
    labels: new Map([['app', 'analyst']]),
  };
  const resources = [resourceOf('backend.yaml'), resourceOf(policyFile)];
  const { bundle } = resolve(resources, workload, new Map([['shop-login', 'Password']]));
  assert.ok(bundle);
  const who = { kind: 'workload', user: 'system:serviceaccount:shop:analyst' } as const;
  const question = { backend: 'shop', text, who };
  await using reader = new TextReader(undefined);
  const answered = answer(
    { bundle, compiled: compilePolicies(bundle) },
    question,
    await reader.read(question),
  );
  assert.equal(answered.problem, undefined);
  const { verdict, wouldBe } = answered.explanation;
  return `${verdict.recorded.action} ${wouldBe.recorded.action}`;
}

describe('the example for a cluster', () => {
  test('has an agent without a password, and without a word of Chaperone', () => {
    const text = JSON.stringify(manifests('agent.yaml'));
    assert.doesNotMatch(text, /chaperone|password|secret|sidecar|proxy/i);
  });

  test('observes first, and enforces by its mode and what is unknown alone', () => {
    const strip = (file: string): unknown => {
      const { spec, ...rest } = manifests(file)[0] as Manifest & { readonly spec: object };
      return { ...rest, spec: { ...spec, mode: '', unknownHosts: '' } };
    };
    assert.deepEqual(strip('policy-observe.yaml'), strip('policy-enforce.yaml'));
  });

  test('lets everything pass at first, records what would be refused, and then refuses it', async () => {
    const select = 'SELECT count(*), sum(amount) FROM orders';
    const drop = 'DROP TABLE orders';
    assert.equal(await verdictOn(select, 'policy-observe.yaml'), 'Allow Allow');
    assert.equal(await verdictOn(drop, 'policy-observe.yaml'), 'Allow Deny');
    assert.equal(await verdictOn(select, 'policy-enforce.yaml'), 'Allow Allow');
    assert.equal(await verdictOn(drop, 'policy-enforce.yaml'), 'Deny Deny');
  });

  test('sends the credential to no host but the upstream of its Backend', () => {
    const backend = resourceOf('backend.yaml');
    assert.equal(backend.kind, 'Backend');
    const [secret] = manifests('credential.yaml');
    assert.equal(secret?.metadata.annotations?.['chaperone.dev/hosts'], backend.spec.upstream.host);
    assert.equal(secret.metadata.name, backend.spec.credential?.secretName);
    assert.equal(secret.metadata.namespace, 'chaperone-credentials');
  });

  test('names every file where it says what to do with it', () => {
    const text = read('README.md');
    for (const file of files) assert.ok(text.includes(`\`${file}\``), file);
  });
});

describe('the example for a cluster, at the API server', { skip: withoutCluster }, () => {
  let running: Cluster;
  let namespace: Namespace;
  before(async () => {
    running = await cluster();
    namespace = await running.namespace('chart-example');
  });
  after(async () => {
    await namespace[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
  });

  for (const file of files) {
    test(`takes ${file}`, async () => {
      const text = read(file).replaceAll('POSTGRES_IMAGE', 'docker.io/library/postgres:18');
      // Namespaces of its own would be in the way of an example that runs.
      const moved = text.replaceAll(/^( {2}namespace:) .*$/gm, '$1 chart-example');
      await running.kubectl(['create', '--dry-run=server', '--filename=-'], {
        input: moved.replaceAll(/^( {2}name: shop)(-data)?$/gm, '$1$2-chart'),
      });
    });
  }
});
