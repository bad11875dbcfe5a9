import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import jsonPatch from 'fast-json-patch';
import { parseAllDocuments, stringify } from 'yaml';
import { ChaperoneError } from '#core/errors.ts';
import { isObject } from '#core/policy/fields.ts';
import { trustVariables } from '../../webhook/agent-container.ts';
import { readConfig } from '../../webhook/config.ts';
import { injectPod, type InjectOptions, type PodFacts } from '../../webhook/inject.ts';
import { isSidecarUid, paths, uidRange } from '../../webhook/names.ts';
import { tryParsePod } from '../../webhook/pod.ts';
import { readArguments, UsageError, type Command } from '../command.ts';

const usage = `usage: kubectl chaperone inject -f FILE [--explicit] [--inbound PORT,…] [--image IMAGE] [--uid UID] [--system-namespace NS]

Shows what the webhook would make of pods, and of what makes pods, in a file of YAML: a preview, for which no cluster is asked.
Nobody needs to apply it: labelled pods are injected as they are made. The webhook also refuses what it finds in a cluster,
and what stands here for certificates and addresses of your installation is none.

  -f, --filename FILE  "-" for standard input
  --explicit           as in a namespace labelled chaperone.dev/mode=explicit
  --inbound PORT,…     ports that policies leave open (inbound.ports)
  --image IMAGE        of the injected containers (default localhost/chaperone:dev)
  --uid UID            of the sidecar, ${uidRange.first} to ${uidRange.last} (default: drawn, as for each pod)
  --system-namespace NS  where Chaperone is installed (default chaperone-system)

The exit code is 1 where a pod would be refused.`;

const ca = '(certificates of your installation)';
const addresses = ['(addresses of the Service in your cluster)'];

/** `kubectl chaperone inject`. */
export const inject: Command = {
  name: 'inject',
  summary: 'shows what pods would be made into',
  usage,
  async run(args) {
    const { values, positionals } = readArguments({
      args: [...args],
      allowPositionals: true,
      options: {
        filename: { type: 'string', short: 'f' },
        explicit: { type: 'boolean', default: false },
        inbound: { type: 'string', default: '' },
        image: { type: 'string', default: 'localhost/chaperone:dev' },
        uid: { type: 'string' },
        'system-namespace': { type: 'string', default: 'chaperone-system' },
      },
    });
    if (values.filename === undefined || positionals.length > 0)
      throw new UsageError('inject needs -f FILE, and nothing else');
    const preview = new Preview({
      options: optionsOf(values.image, values['system-namespace']),
      facts: {
        mode: values.explicit ? 'explicit' : 'transparent',
        runtimeHandler: undefined,
        kubeApiToken: false,
        apiAudiences: [], // a preview asks no cluster
        inboundPorts: parsePorts(values.inbound),
      },
      uid: parseUid(values.uid),
    });
    const shown = readObjects(values.filename).map((object) => preview.of(object));
    process.stdout.write(
      shown
        .map((object) => stringify(object, { lineWidth: 0, aliasDuplicateObjects: false }))
        .join('---\n'),
    );
    for (const line of preview.remarks) process.stderr.write(`${line}\n`);
    return preview.isRefused ? 1 : 0;
  },
};

interface PreviewOptions {
  readonly options: InjectOptions;
  readonly facts: PodFacts;
  /** Undefined: drawn for each pod. */
  readonly uid: number | undefined;
}

/** Injects objects one after the other, and keeps what is to be said of them. */
class Preview {
  readonly #given: PreviewOptions;
  readonly remarks: string[] = [];
  isRefused = false;

  constructor(given: PreviewOptions) {
    this.#given = given;
  }

  /** What an object becomes; one that makes no pods stays as it is. */
  of(object: unknown): unknown {
    if (!isObject(object)) return object;
    const name = `${String(object['kind'])}/${isObject(object['metadata']) ? String(object['metadata']['name']) : ''}`;
    if (object['kind'] === 'Pod') return this.#pod(object, name);
    if (object['kind'] === 'List' && Array.isArray(object['items']))
      return { ...object, items: object['items'].map((item: unknown) => this.of(item)) };
    const { spec } = object;
    if (!isObject(spec)) return object;
    if (object['kind'] === 'CronJob' && isObject(spec['jobTemplate'])) {
      const jobTemplate = this.of({ ...spec['jobTemplate'], kind: 'Job', metadata: object['metadata'] });
      const { kind: _, metadata: __, ...rest } = isObject(jobTemplate) ? jobTemplate : {};
      return { ...object, spec: { ...spec, jobTemplate: { ...spec['jobTemplate'], ...rest } } };
    }
    if (!isObject(spec['template'])) return object;
    return { ...object, spec: { ...spec, template: this.#pod(spec['template'], name) } };
  } // prettier-ignore

  #pod(object: Readonly<Record<string, unknown>>, name: string): unknown {
    const { options, facts, uid } = this.#given;
    const metadata = isObject(object['metadata']) ? object['metadata'] : {};
    const pod = tryParsePod({ ...object, metadata });
    if (!pod) {
      this.isRefused = true;
      this.remarks.push(`${name}: it is no pod that can be understood`);
      return object;
    }
    const uids = {
      draw: () => uid ?? randomInt(uidRange.first, uidRange.last + 1),
      keeps: false,
    };
    const injection = injectPod(pod, facts, options, uids);
    if (injection.kind === 'refused') {
      this.isRefused = true;
      for (const { message } of injection.refusals) this.remarks.push(`${name}: refused: ${message}`);
      return object;
    }
    for (const warning of injection.warnings) this.remarks.push(`${name}: ${warning}`);
    const patch = injection.patch.map((operation) => ({ ...operation }));
    return jsonPatch.applyPatch(structuredClone({ ...object, metadata }), patch).newDocument;
  } // prettier-ignore
}

/** What the chart would tell the webhook, but for certificates. */
function optionsOf(image: string, systemNamespace: string): InjectOptions {
  const url = (server: string): string => `https://chaperone-${server}.${systemNamespace}.svc:443`;
  const config = readConfig({
    CHAPERONE_IMAGE: image,
    CHAPERONE_CONTROLLER_URL: url('controller'),
    CHAPERONE_CONTROLLER_CA_FILE: ca,
    CHAPERONE_COLLECTOR_URL: url('collector'),
    CHAPERONE_COLLECTOR_CA_FILE: ca,
  });
  return {
    ...config,
    controller: { url: config.controllerUrl.href, addresses, ca },
    collector: { url: config.collectorUrl.href, addresses, ca },
    logLevel: config.sidecarLogLevel,
    trustVariables: trustVariables(paths.trust),
  };
}

function readObjects(file: string): readonly unknown[] {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new ChaperoneError('config-invalid', `${file} cannot be read`, { cause });
  }
  return parseAllDocuments(text)
    .map((document) => {
      const [error] = document.errors;
      if (error) throw new ChaperoneError('config-invalid', `${file}: ${error.message}`);
      return document.toJS() as unknown;
    })
    .filter((object) => object !== null);
}

function parseUid(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const uid = /^\d{10}$/.test(text) ? Number(text) : 0;
  if (isSidecarUid(uid)) return uid;
  throw new UsageError(`--uid: got "${text}", want ${uidRange.first} to ${uidRange.last}`);
}

function parsePorts(text: string): readonly number[] {
  if (text === '') return [];
  const ports = text.split(',').map((port) => (/^\d{1,5}$/.test(port) ? Number(port) : 0));
  if (ports.every((port) => port >= 1 && port <= 65_535)) return ports;
  throw new UsageError(`--inbound: got "${text}", want ports as 8080,9090`);
}
