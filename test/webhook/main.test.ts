import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createLocalCa, type LocalCa } from '../../cli/dev/certificates.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { startApiServer, type ApiServer } from '../support/api-server.ts';
import { plainPod } from '../support/pods.ts';

type Fields = Record<string, unknown>;

const policies = '/apis/chaperone.dev/v1alpha1';
const services = '/api/v1/namespaces/audit/services';
const empty = { items: [] };

interface Answer {
  readonly status: number;
  readonly connection: string | undefined;
  /** Serial number of the certificate that was shown. */
  readonly serial: string;
  readonly text: string;
}

describe('the webhook as a process', () => {
  const directory = mkdtempSync(join(tmpdir(), 'webhook-'));
  const file = (name: string): string => join(directory, name);
  let api: ApiServer;
  let ca: LocalCa;
  let child: ChildProcess;
  let port = 0;
  let metricsUrl = '';
  const logged: Fields[] = [];
  const waiting: { accepts: (line: Fields) => boolean; resolve: (line: Fields) => void }[] = [];
  const line = (accepts: (line: Fields) => boolean): Promise<Fields> => {
    const { promise, resolve } = Promise.withResolvers<Fields>();
    const known = logged.find(accepts);
    if (known) resolve(known);
    else waiting.push({ accepts, resolve });
    return promise;
  };

  async function writeCertificate(): Promise<void> {
    const { cert, key } = await ca.issue('webhook');
    writeFileSync(file('tls.crt'), cert);
    writeFileSync(file('tls.key'), key);
  }

  before(async () => {
    ca = await createLocalCa(Date.now());
    api = await startApiServer(
      ca,
      new Map<string, object>([
        ['/api/v1/namespaces/agents', { metadata: { name: 'agents', labels: { 'chaperone.dev/enforce': 'true' } } }],
        ['/api/v1/namespaces/loose', { metadata: { name: 'loose' } }],
        ['/api/v1/namespaces/dialling', { metadata: { name: 'dialling', labels: { 'chaperone.dev/mode': 'explicit' } } }],
        ['/apis/node.k8s.io/v1/runtimeclasses/sandboxed', { metadata: { name: 'sandboxed' }, handler: 'runsc' }],
        [`${policies}/clusterauditpolicies`, empty],
        [`${services}/chaperone-controller`, { spec: { clusterIPs: ['10.96.0.20', 'fd10:96::20'] } }],
        [`${services}/chaperone-collector`, { spec: { clusterIPs: ['10.96.0.21'] } }],
        ...['agents', 'loose', 'dialling'].map((name): [string, object] => [`${policies}/namespaces/${name}/auditpolicies`, empty]),
      ]),
    ); // prettier-ignore
    await writeCertificate();
    writeFileSync(file('ca.crt'), ca.certificate);
    writeFileSync(file('kubeconfig'), api.kubeconfig);
    child = spawn(process.execPath, ['--max-old-space-size=256', 'webhook/main.ts'], {
      cwd: projectDirectory,
      stdio: ['ignore', 'inherit', 'pipe'],
      env: {
        KUBECONFIG: file('kubeconfig'),
        CHAPERONE_LISTEN: '127.0.0.1:0',
        CHAPERONE_TLS_CERT_FILE: file('tls.crt'),
        CHAPERONE_TLS_KEY_FILE: file('tls.key'),
        CHAPERONE_DRAIN_SECONDS: '1',
        CHAPERONE_IMAGE: 'registry.example/chaperone:1',
        CHAPERONE_CONTROLLER_URL: 'https://chaperone-controller.audit.svc',
        CHAPERONE_CONTROLLER_CA_FILE: file('ca.crt'),
        CHAPERONE_COLLECTOR_URL: 'https://chaperone-collector.audit.svc',
        CHAPERONE_COLLECTOR_CA_FILE: file('ca.crt'),
      },
    });
    createInterface({ input: child.stderr ?? assert.fail() }).on('line', (text) => {
      const entry = text.startsWith('{') ? (JSON.parse(text) as Fields) : { msg: text };
      logged.push(entry);
      for (const { accepts, resolve } of waiting) if (accepts(entry)) resolve(entry);
    });
    const ready = await line(({ msg }) => msg === 'ready' || String(msg).startsWith('chaperone webhook')); // prettier-ignore
    assert.equal(ready['msg'], 'ready');
    port = (ready['address'] as { port: number }).port;
    metricsUrl = String(ready['metricsUrl']);
  });
  after(async () => {
    if (child.exitCode === null) child.kill('SIGKILL');
    await api[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  /** Without a body: only says that one of `announced` bytes follows. */
  function post(
    path: string,
    body: string | { readonly announced: number },
    agent: Agent | false = false,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const length = typeof body === 'string' ? Buffer.byteLength(body) : body.announced;
      const headers = { 'content-type': 'application/json', 'content-length': length };
      const options = {
        method: 'POST',
        headers,
        ca: ca.certificate,
        agent,
        rejectUnauthorized: true,
      };
      const outgoing = request(`https://127.0.0.1:${port}${path}`, options, (response) => {
        const serial = (response.socket as TLSSocket).getPeerCertificate().serialNumber;
        response.toArray().then((pieces: Buffer[]) => {
          const { statusCode: status = 0, headers } = response;
          resolve({ status, connection: headers.connection, serial, text: Buffer.concat(pieces).toString() });
        }, reject);
      }); // prettier-ignore
      outgoing.on('error', reject);
      if (typeof body === 'string') outgoing.end(body);
      else outgoing.flushHeaders();
    });
  }

  const question = (namespace: string, object: object, fields: Fields = {}): string =>
    JSON.stringify({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: {
        uid: 'q', operation: 'CREATE', namespace, object,
        resource: { group: '', version: 'v1', resource: 'pods' }, ...fields,
      },
    }); // prettier-ignore

  interface Response {
    readonly allowed: boolean;
    readonly patch?: string;
    readonly warnings?: readonly string[];
    readonly status?: { readonly code: number; readonly message: string };
  }
  async function ask(namespace: string, object: object, fields: Fields = {}, path = '/v1/pods') {
    const { text } = await post(path, question(namespace, object, fields));
    const { response } = JSON.parse(text) as { response: Response };
    return { ...response, patch: Buffer.from(response.patch ?? '', 'base64').toString() };
  }

  test('injects a pod with a uid that it draws, each time another', async () => {
    const uidOf = (patch: string): string => /uid=(1\d{9})/.exec(patch)?.[1] ?? assert.fail(patch);
    const [one, two] = [await ask('agents', plainPod()), await ask('agents', plainPod())];
    assert.notEqual(uidOf(one.patch), uidOf(two.patch));
    assert.match(one.patch, /BEGIN CERTIFICATE/);
  });

  test('goes by the labels of the namespace', async () => {
    assert.match((await ask('agents', plainPod())).warnings?.[0] ?? '', /recorded$/);
    assert.match((await ask('loose', plainPod())).warnings?.[0] ?? '', /its author labels it/);
    assert.match((await ask('dialling', plainPod())).warnings?.[0] ?? '', /explicit mode/);
  });

  test('asks which runtime a class of the pod means', async () => {
    const { allowed, status } = await ask('agents', plainPod({ runtimeClassName: 'sandboxed' }));
    assert.deepEqual([allowed, status?.code], [false, 403]);
    assert.match(status?.message ?? '', /gVisor/);
  });

  test('opens the ports of policies that select the pod', async () => {
    const policy = (name: string, app: string, port: number): Fields => ({
      apiVersion: 'chaperone.dev/v1alpha1', kind: 'AuditPolicy',
      metadata: { name, namespace: 'agents', uid: 'u', resourceVersion: '1' },
      spec: { podSelector: { matchLabels: { app } }, inbound: { ports: [port] } }, status: {},
    }); // prettier-ignore
    const broken = { ...policy('broken', 'server', 7003), spec: { inbound: { ports: [7003] } } };
    api.objects.set(`${policies}/namespaces/agents/auditpolicies`, {
      items: [policy('one', 'server', 7001), policy('two', 'other', 7002), broken],
    });
    const { patch } = await ask('agents', plainPod({}, { labels: { app: 'server' } }));
    api.objects.set(`${policies}/namespaces/agents/auditpolicies`, empty);
    assert.match(patch, /open=\{ 7001, 15490 \}/);
  });

  test('lets nothing in while the cluster does not say what applies', async () => {
    api.objects.set(`${policies}/clusterauditpolicies`, 500);
    const { allowed, status } = await ask('agents', plainPod());
    api.objects.set(`${policies}/clusterauditpolicies`, empty);
    assert.deepEqual([allowed, status?.code], [false, 503]);
    assert.equal((await ask('agents', plainPod())).allowed, true);
    assert.equal((await ask('unknown', plainPod())).allowed, false);
  });

  test('says where our servers are as the cluster has it now, and lets nothing in without', async () => {
    assert.match((await ask('agents', plainPod())).patch, /_CONTROLLER_ADDRESSES","value":"10\.96\.0\.20,fd10:96::20".*_COLLECTOR_ADDRESSES","value":"10\.96\.0\.21"/); // prettier-ignore
    const collector = `${services}/chaperone-collector`;
    for (const headless of [{ spec: { clusterIPs: ['None'] } }, 404]) {
      api.objects.set(collector, headless);
      const { allowed, status } = await ask('agents', plainPod());
      assert.deepEqual([allowed, status?.code], [false, 503]);
    }
    api.objects.set(collector, { spec: { clusterIPs: ['10.96.0.22'] } });
    assert.match((await ask('agents', plainPod())).patch, /_COLLECTOR_ADDRESSES","value":"10\.96\.0\.22"/); // prettier-ignore
  });

  test('tells the owner once, however often the same is tried, and nobody who is not there', async () => {
    const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'agent', uid: 'u', controller: true };
    const pod = plainPod({ hostNetwork: true }, { ownerReferences: [owner] });
    const sets = '/apis/apps/v1/namespaces/agents/replicasets';
    for (const name of ['agent', 'last']) api.objects.set(`${sets}/${name}`, { metadata: { name, uid: 'u' } });
    api.objects.set(`${sets}/stranger`, { metadata: { name: 'stranger', uid: 'unknown to whoever asks' } });
    const first = api.nextEvent();
    await ask('agents', pod, { dryRun: true });
    await ask('agents', pod);
    const { involvedObject, message, type } = await first;
    assert.deepEqual([(involvedObject as Fields)['name'], type], ['agent', 'Warning']);
    assert.match(String(message), /spec\.hostNetwork/);
    await ask('agents', pod);
    for (const other of [{ ...owner, name: 'stranger' }, { ...owner, name: 'nobody' }, { ...owner, kind: 'Secret' }])
      await ask('agents', plainPod({ hostNetwork: true }, { ownerReferences: [other] }));
    const last = api.nextEvent();
    await ask('agents', plainPod({}, { ownerReferences: [{ ...owner, name: 'last' }] }));
    await last;
    assert.deepEqual(api.events.map((event) => (event['involvedObject'] as Fields)['name']), ['agent', 'last']); // prettier-ignore
  }); // prettier-ignore

  test('refuses resources that sidecars would not understand', async () => {
    const resource = { group: 'chaperone.dev', version: 'v1alpha1', resource: 'auditpolicies' };
    const policy = { apiVersion: 'chaperone.dev/v1alpha1', kind: 'AuditPolicy', metadata: { name: 'p', namespace: 'agents' } }; // prettier-ignore
    const good = { ...policy, spec: { podSelector: {} } };
    const bad = { ...policy, spec: { podSelector: {}, mode: 'Off' } };
    assert.equal((await ask('agents', good, { resource }, '/v1/resources')).allowed, true);
    const { status } = await ask('agents', bad, { resource }, '/v1/resources');
    assert.match(status?.message ?? '', /spec\.mode: got "Off"/);
  });

  test('answers what is no question with a status, and goes on', async () => {
    const bodies: [string, number][] = [
      ['', 400], ['{', 400], ['[]', 400], ['{}', 400], ['null', 400], ['{"__proto__":{}}', 400],
      [question('agents', plainPod()).replace('admission.k8s.io/v1', 'admission.k8s.io/v1beta1'), 400],
    ]; // prettier-ignore
    for (const [body, status] of bodies)
      assert.equal((await post('/v1/pods', body)).status, status, body.slice(0, 40));
    assert.equal((await post('/v1/pods', { announced: 5 * 1024 * 1024 })).status, 413);
    assert.equal((await post('/v1/other', '{}')).status, 404);
    assert.equal((await ask('agents', {})).allowed, false);
    assert.equal((await ask('agents', plainPod())).allowed, true);
  });

  test('outlives questions that take thirty times their length, and answers others meanwhile', async () => {
    const filler = `${'[],'.repeat(1_300_000)}[]`;
    const hostile = question('agents', { ...plainPod(), extra: [] }).replace('"extra":[]', `"extra":[${filler}]`);
    const answers = Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => post('/v1/pods', hostile)));
    assert.equal((await ask('agents', plainPod())).allowed, true);
    for (const { status, text } of await answers)
      assert.ok(status === 200 || (status === 503 && text.startsWith('too many')), `${status} ${text.slice(0, 80)}`);
    assert.equal((await ask('agents', plainPod())).allowed, true);
  }); // prettier-ignore

  test('counts what it was asked, and says when its certificate expires', async () => {
    const text = await (await fetch(metricsUrl)).text();
    assert.match(text, /chaperone_webhook_requests_total\{about="pods",outcome="injected"\} [1-9]/);
    assert.match(text, /chaperone_webhook_injected_total\{mode="explicit"\} 1\n/);
    assert.match(text, /chaperone_webhook_refused_total\{reason="host-namespace"\} 6\n/);
    assert.match(text, /chaperone_webhook_refused_total\{reason="windows"\} 0\n/);
    assert.match(text, /chaperone_webhook_seconds_count\{about="resources"\} 2\n/);
    const expires = Number(/^chaperone_webhook_cert_expiry_seconds (\S+)$/m.exec(text)?.[1]);
    assert.ok(expires > Date.now() / 1000);
    assert.equal((await fetch(new URL('/readyz', metricsUrl))).status, 200);
  });

  test('asks the cluster over a few connections, however many pods come', async () => {
    const before = api.connections();
    for (let index = 0; index < 10; index += 1) await ask('agents', plainPod());
    assert.ok(api.connections() - before <= 3, `${api.connections() - before}`);
  });

  test('shows a new certificate without a pause, and none that does not fit its key', async () => {
    const before = (await post('/v1/pods', '{}')).serial;
    writeFileSync(file('tls.crt'), (await ca.issue('other')).cert);
    await line(({ files, state }) => files === 'certificate' && state === 'unusable');
    assert.equal((await post('/v1/pods', '{}')).serial, before);
    await writeCertificate();
    await line(({ files, state }) => files === 'certificate' && state === 'changed');
    assert.notEqual((await post('/v1/pods', '{}')).serial, before);
  });

  test('asked to stop, answers on until it is asked no more, and ends', async () => {
    const agent = new Agent({ keepAlive: true });
    assert.equal((await post('/v1/pods', question('agents', plainPod()), agent)).connection, 'keep-alive'); // prettier-ignore
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await line(({ msg }) => msg === 'stopping');
    assert.equal((await fetch(new URL('/readyz', metricsUrl))).status, 503);
    const late = await post('/v1/pods', question('agents', plainPod()), agent);
    assert.deepEqual([late.status, late.connection], [200, 'close']);
    assert.deepEqual(await exit, [0, null]);
    agent.destroy();
  });
});
