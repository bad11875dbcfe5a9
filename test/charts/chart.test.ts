import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { parseResource } from '#core/policy/parse.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { readConfig as readCollectorConfig } from '../../collector/config.ts';
import { readConfig as readControllerConfig } from '../../controller/config.ts';
import type { Environment } from '../../runtime/settings.ts';
import { readConfig as readWebhookConfig } from '../../webhook/config.ts';
import { harmlessCapabilities } from '../../webhook/agent-container.ts';
import {
  chartDirectory,
  refusalOf,
  renderChart,
  runHelm,
  trialValues,
  type Rendered,
} from '../support/chart.ts';
import { documentOf } from '../../tools/values-document.ts';
import { withoutCluster } from '../support/cluster.ts';

const read = (...path: readonly string[]): string =>
  readFileSync(join(projectDirectory, ...path), 'utf8');

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly resources?: Readonly<Record<string, unknown>>;
}

interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly containers: readonly Container[];
  readonly volumes?: readonly {
    readonly name: string;
    readonly secret?: {
      readonly secretName: string;
      readonly items?: readonly { readonly key: string }[];
    };
    readonly configMap?: {
      readonly name: string;
      readonly items?: readonly { readonly key: string }[];
    };
  }[];
}

interface Workload extends Rendered {
  readonly spec: { readonly template: { readonly spec: PodSpec } };
}

const isWorkload = (object: Rendered): object is Workload =>
  ['Deployment', 'StatefulSet', 'Job'].includes(object.kind);

const podOf = (objects: readonly Rendered[], kind: string, name: string): PodSpec => {
  const found = objects
    .filter(isWorkload)
    .find((object) => object.kind === kind && object.metadata.name === name);
  assert.ok(found, `${kind} ${name}`);
  return found.spec.template.spec;
};

/** What the only container is told, with what its pod would fill in. */
function environmentOf({ containers: [container] }: PodSpec): Environment {
  return Object.fromEntries(
    (container?.env ?? []).map(({ name, value }) => [name, value ?? 'of-the-pod']),
  );
}

/** What the compiled Helm comes with is there where the cluster is. */
describe('the chart', { skip: withoutCluster }, () => {
  let objects: readonly Rendered[];
  before(async () => {
    objects = await renderChart('chaperone-system');
  });

  test('passes the linter', async () => {
    const flags = trialValues.map((value) => `--set=${value}`);
    const { ok, out, err } = await runHelm(['lint', '--strict', chartDirectory, ...flags]);
    assert.ok(ok, out + err);
  });

  const environment = (name: string): Environment =>
    environmentOf(podOf(objects, 'Deployment', `chaperone-${name}`));

  test('tells the webhook what its configuration takes, and nothing else', () => {
    const config = readWebhookConfig(environment('webhook'));
    assert.equal(config.image, 'localhost/chaperone:dev');
    assert.deepEqual(config.allowedCapabilities, harmlessCapabilities);
    assert.equal(config.controllerUrl.href, 'https://chaperone-controller.chaperone-system.svc/');
  });

  test('tells the collector what its configuration takes, and nothing else', () => {
    const config = readCollectorConfig(environment('collector'));
    assert.equal(config.keyFile, '/run/chaperone/key/key.pem');
  });

  test('tells the controller what its configuration takes, and nothing else', () => {
    // Without one it takes that of its pod, which this machine may not have.
    const withResolver = { ...environment('controller'), CHAPERONE_RESOLVER: '10.0.0.10:53' };
    assert.doesNotThrow(() => readControllerConfig(withResolver));
  });

  test('tells them other values where they are given', async () => {
    const given = await renderChart('audit', [
      ...trialValues,
      `image.digest=sha256:${'a'.repeat(64)}`,
      'sidecar.spoolMaxBytes=4294967296',
      'sidecar.resources.limits.memory=512Mi',
      'allowedCapabilities={CHOWN}',
      'logLevel=debug',
      'resolver=10.0.0.10:53',
      'deniedAddresses={10.0.0.0/8,192.0.2.1}',
      'acceptedImages={registry.example.com/chaperone:1,registry.example.com/chaperone:2}',
    ]);
    const webhook = readWebhookConfig(
      environmentOf(podOf(given, 'Deployment', 'chaperone-webhook')),
    );
    assert.equal(webhook.image, `localhost/chaperone@sha256:${'a'.repeat(64)}`);
    assert.equal(webhook.spoolMaxBytes, 4 * 1024 ** 3);
    assert.equal(webhook.sidecarResources.limits['memory'], '512Mi');
    assert.deepEqual(webhook.allowedCapabilities, ['CHOWN']);
    assert.equal(webhook.logLevel, 'debug');
    assert.equal(webhook.collectorUrl.href, 'https://chaperone-collector.audit.svc/');
    const controller = environmentOf(podOf(given, 'Deployment', 'chaperone-controller'));
    assert.equal(controller['CHAPERONE_RESOLVER'], '10.0.0.10:53');
    assert.equal(controller['CHAPERONE_DENIED_ADDRESSES'], '10.0.0.0/8,192.0.2.1');
    assert.equal(
      controller['CHAPERONE_ACCEPTED_IMAGES'],
      'registry.example.com/chaperone:1,registry.example.com/chaperone:2',
    );
  });

  test('tells the controller of injected containers what it tells the webhook', () => {
    const [webhook, controller] = ['webhook', 'controller'].map((name) =>
      environmentOf(podOf(objects, 'Deployment', `chaperone-${name}`)),
    );
    assert.ok(webhook && controller);
    const shared = Object.keys(webhook).filter((name) =>
      /_(IMAGE|IMAGE_PULL_POLICY|URL|RESOURCES|SPOOL_MAX_BYTES|SIDECAR_LOG_LEVEL)$/.test(name),
    );
    assert.equal(shared.length, 8);
    for (const name of shared) assert.equal(controller[name], webhook[name], name);
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ['replicas.webhook=0', /replicas\/webhook.*want 1/],
    ['replica.webhook=2', /additional properties 'replica' not allowed/],
    ['webhook.drain=1', /additional properties 'drain' not allowed/],
    ['logLevel=loud', /logLevel.*must be one of/],
    ['image.digest=latest', /image\/digest/],
    ['allowedCapabilities={SETUID}', /allowedCapabilities\/0/],
    ['resolver=dns.example.com:53', /resolver/],
    ['sidecar.spoolMaxBytes=1', /spoolMaxBytes/],
    ['sidecar.resources.limits.memory=null', /missing property 'memory'/],
    ['database.existingSecret.name=mine', /both set: records go to one database/],
    ['credentials.namespace=chaperone-system', /release's own/],
  ];
  for (const [value, message] of refused) {
    test(`refuses ${value}`, async () => {
      assert.match(await refusalOf([...trialValues, value]), message);
    });
  }

  test('asks where records are to be stored', async () => {
    assert.match(await refusalOf([]), /no database for records: name the Secret with its URL/);
  });

  test('reads the database of a Secret that is there, with its authority', async () => {
    const given = await renderChart('audit', [
      'database.existingSecret.name=mine',
      'database.existingSecret.key=dsn',
      'database.existingSecret.caKey=ca',
    ]);
    const { volumes = [] } = podOf(given, 'Deployment', 'chaperone-collector');
    const database = volumes.find(({ name }) => name === 'database');
    assert.deepEqual(database?.secret, {
      secretName: 'mine',
      defaultMode: 0o440,
      items: [
        { key: 'dsn', path: 'url' },
        { key: 'ca', path: 'ca.crt' },
      ],
    });
    assert.equal(
      given.some(({ kind }) => kind === 'StatefulSet'),
      false,
    );
  });

  test('makes no certificate and no secret: what is one is empty, and no key or password is rendered', () => {
    for (const object of objects.filter(({ kind }) => kind === 'Secret'))
      assert.deepEqual(
        Object.keys(object).sort(),
        ['apiVersion', 'kind', 'metadata', 'type'],
        object.metadata.name,
      );
    for (const object of objects.filter(({ kind }) => kind !== 'CustomResourceDefinition'))
      assert.doesNotMatch(JSON.stringify(object), /BEGIN |"caBundle"|postgres:\/\//);
  });

  test('renders the same twice', async () => {
    assert.deepEqual(await renderChart('chaperone-system'), objects);
  });

  test('gives pods what they wait for by its keys, and the kube API token to none by itself', () => {
    for (const { metadata, spec } of objects.filter(isWorkload)) {
      const pod = spec.template.spec;
      assert.equal(pod.automountServiceAccountToken, false, metadata.name);
      assert.equal(pod.enableServiceLinks, false, metadata.name);
      for (const { name, secret } of pod.volumes ?? [])
        if (secret) assert.ok((secret.items ?? []).length > 0, `${metadata.name}: ${name}`);
    }
    const own = podOf(objects, 'StatefulSet', 'chaperone-postgres');
    assert.doesNotMatch(JSON.stringify(own), /serviceAccountToken"/);
    assert.match(JSON.stringify(own), /--auth-host=scram-sha-256 --auth-local=scram-sha-256/);
  });

  test('lets no container change its root, gain rights or run without bounds', () => {
    for (const { metadata, spec } of objects.filter(isWorkload))
      for (const { name, securityContext, resources } of spec.template.spec.containers) {
        const what = `${metadata.name}: ${name}`;
        assert.equal(securityContext?.['readOnlyRootFilesystem'], true, what);
        assert.equal(securityContext['allowPrivilegeEscalation'], false, what);
        assert.deepEqual(securityContext['capabilities'], { drop: ['ALL'] }, what);
        assert.ok(resources?.['requests'] && resources['limits'], what);
      }
  });

  test('brings the resource definitions of the project, which stay at an uninstall', () => {
    const files = readdirSync(join(projectDirectory, 'crds')).sort();
    assert.deepEqual(readdirSync(join(chartDirectory, 'files/crds')).sort(), files);
    const made = objects.filter(({ kind }) => kind === 'CustomResourceDefinition');
    assert.equal(made.length, files.length);
    for (const file of files) {
      const text = read('crds', file);
      assert.equal(
        read('charts/chaperone/files/crds', file),
        text,
        'copy them: cp crds/*.yaml charts/chaperone/files/crds/',
      );
      const want = parse(text) as Rendered;
      const keep = { 'helm.sh/resource-policy': 'keep' };
      assert.deepEqual(
        made.find(({ metadata }) => metadata.name === want.metadata.name),
        { ...want, metadata: { ...want.metadata, annotations: keep } },
      );
    }
  });

  test('leaves the resource definitions to others where it is told to', async () => {
    const without = await renderChart('audit', [...trialValues, 'crds.enabled=false']);
    assert.equal(
      without.some(({ kind }) => kind === 'CustomResourceDefinition'),
      false,
    );
  });

  test('makes a first policy that refuses nothing', async () => {
    const { resource, problems } = parseResource(
      parse(read('charts/chaperone/files/baseline.yaml')),
    );
    assert.equal(problems, undefined);
    assert.equal(resource?.kind, 'ClusterAuditPolicy');
    const { mode, defaultAction, unknownHosts } = resource.spec;
    assert.deepEqual([mode, defaultAction, unknownHosts], ['Observe', 'Allow', 'Record']);
    const without = await renderChart('audit', [...trialValues, 'baseline.enabled=false']);
    assert.equal(
      without.some(({ metadata }) => metadata.name === 'chaperone-baseline'),
      false,
    );
  });

  test('is described in docs/values.md, every value of it', async () => {
    const text = await documentOf(read('charts/chaperone/values.yaml'));
    assert.equal(read('docs/values.md'), text, 'write it anew: node tools/values-document.ts');
    assert.doesNotMatch(text, /\|\s*\|\n/); // a value without a comment
  });

  test('has a dashboard for each file that there is', () => {
    const directory = join(chartDirectory, 'dashboards');
    const files = existsSync(directory) ? readdirSync(directory) : [];
    const made = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1');
    assert.deepEqual(
      made.map(({ metadata }) => metadata.name).sort(),
      files.map((file) => `chaperone-dashboard-${file.replace(/\.json$/, '')}`).sort(),
    );
    for (const file of files) {
      const object = made.find(
        ({ metadata }) => `chaperone-dashboard-${file}` === `${metadata.name}.json`,
      );
      assert.deepEqual(
        JSON.parse((object?.['data'] as Record<string, string> | undefined)?.[file] ?? ''),
        JSON.parse(readFileSync(join(directory, file), 'utf8')),
      );
    }
  });

  test('asks the webhook of pods alone that are to be injected, and never of its own', () => {
    const configuration = objects.find(({ kind }) => kind === 'MutatingWebhookConfiguration');
    const webhooks = configuration?.['webhooks'] as readonly Record<string, unknown>[];
    const own = {
      key: 'kubernetes.io/metadata.name',
      operator: 'NotIn',
      values: ['kube-system', 'chaperone-system'],
    };
    const enforces = (operator: string): object => ({
      key: 'chaperone.dev/enforce',
      operator,
      values: ['true'],
    });
    assert.deepEqual(
      webhooks.map(({ namespaceSelector, objectSelector }) => [namespaceSelector, objectSelector]),
      [
        [{ matchExpressions: [enforces('In'), own] }, undefined],
        [
          { matchExpressions: [enforces('NotIn'), own] },
          { matchLabels: { 'chaperone.dev/inject': 'true' } },
        ],
      ],
    );
    for (const webhook of webhooks) {
      assert.equal(webhook['failurePolicy'], 'Fail');
      assert.equal(webhook['timeoutSeconds'], 5);
      assert.equal(webhook['reinvocationPolicy'], 'IfNeeded');
    }
  });
});
