import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseResource } from '#core/policy/parse.ts';
import type { Problem } from '#core/policy/resources.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { mutants, valuesOf } from './mutants.ts';
import { documentOf, samples, unsupported } from './samples.ts';
import {
  keywords,
  readDefinition,
  validate,
  walk,
  withDefaults,
  type Fields,
  type Schema,
} from './schema.ts';

/** What needs more than a schema can say: the API server takes it, the parser does not. */
const parserAlone: readonly { readonly path: RegExp; readonly message: RegExp }[] = [
  // CEL that is none, or about what does not exist.
  { path: /\.(when|settings\[\d+\]\.value)$/, message: /^(?!want at most|got )/ },
  { path: /\.commands\[\d+\]$/, message: /want a command of PostgreSQL/ }, // upper-case words that are no tag
  { path: /\.serviceAccounts\[\d+\]\.namespace$/, message: /the policy’s own/ },
  { path: /\.matchLabels/, message: /want a label key|want at most 317/ }, // keys cannot be described, and a rule on them costs too much
];

function specSchema(plural: string): Schema {
  const root = readDefinition(plural).spec.versions[0].schema.openAPIV3Schema;
  assert.ok(root.properties?.['spec']);
  return root.properties['spec'];
}

const isUnsupported = ({ message }: Problem): boolean => message.startsWith('unsupported');

/** Parses a document, and says which of its fields the parser looked for, whether they were there or not. */
function fieldsAskedFor(document: Fields): ReadonlySet<string> {
  const asked = new Set<string>();
  const watch = (value: object, path: string): object =>
    new Proxy(value, {
      getOwnPropertyDescriptor: (target, key) => {
        if (!Array.isArray(target)) asked.add(path === '' ? String(key) : `${path}.${String(key)}`);
        return Reflect.getOwnPropertyDescriptor(target, key);
      },
      get: (target, key) => {
        const child: unknown = Reflect.get(target, key);
        if (typeof child !== 'object' || child === null) return child;
        const childPath = Array.isArray(target) ? `${path}[]` : `${path}.${String(key)}`;
        return watch(child, path === '' ? String(key) : childPath);
      },
    });
  const { problems } = parseResource(watch(document, ''));
  assert.equal(problems, undefined);
  return asked;
}

test('there is a definition of each kind that is read, and of no other', () => {
  const files = readdirSync(join(projectDirectory, 'crds')).sort();
  assert.deepEqual(files, [...samples.keys()].map((plural) => `${plural}.yaml`).sort());
});

for (const [plural, documents] of samples) {
  describe(`the definition of ${plural}`, () => {
    const definition = readDefinition(plural);
    const [version] = definition.spec.versions;
    const root = version.schema.openAPIV3Schema;
    const schema = specSchema(plural);

    test('says what kubectl needs to know', () => {
      const { group, scope, names } = definition.spec;
      const [document] = documents;
      const metadata = document?.['metadata'] as Fields;
      assert.equal(definition.metadata.name, `${plural}.${group}`);
      assert.equal(`${group}/${version.name}`, document?.['apiVersion']);
      assert.equal(names['kind'], document?.['kind']);
      assert.equal(names['plural'], plural);
      assert.deepEqual(names['categories'], ['chaperone']);
      assert.equal(scope, 'namespace' in metadata ? 'Namespaced' : 'Cluster');
      assert.deepEqual(version.subresources, { status: {} });
      const paths = new Set([...walk(root)].map(([path]) => `.${path}`));
      for (const { name, jsonPath } of version.additionalPrinterColumns) {
        const path = jsonPath.replace(/\[\?.*?\]/, '[]');
        assert.ok(name === 'Age' || paths.has(path), jsonPath);
      }
    });

    test('bounds every string, list and number, and describes every field', () => {
      for (const [path, at] of walk(root)) {
        for (const keyword of Object.keys(at))
          assert.ok(keywords.has(keyword), `${path}: ${keyword}`);
        if (at.type === 'string') assert.ok(at.maxLength ?? at.enum, `${path} has no maxLength`);
        if (at.type === 'array') assert.ok(at.maxItems, `${path} has no maxItems`);
        if (at.additionalProperties) assert.ok(at.maxProperties, `${path} has no maxProperties`);
        if (at.type === 'integer') assert.ok(at.minimum !== undefined, `${path} has no minimum`);
        if (/^(spec|status)\b.*[^\]}]$/.test(path))
          assert.ok(at.description, `${path} is not described`);
        for (const name of at.required ?? []) assert.ok(at.properties?.[name], `${path}.${name}`);
      }
    });

    test('says of every list what makes its items the same', () => {
      for (const [path, at] of walk(root)) {
        if (at.type !== 'array') continue;
        const type = at['x-kubernetes-list-type'];
        assert.ok(type, path);
        assert.equal(type === 'map', at['x-kubernetes-list-map-keys'] !== undefined, path);
        if (type === 'set') assert.notEqual(at.items?.type, 'object', path);
        for (const key of at['x-kubernetes-list-map-keys'] ?? [])
          assert.ok(at.items?.required?.includes(key), `${path}: ${key} is not required`);
      }
    });

    // Go's regular expressions have no lookaround and no \u, and `[^]` is an error there.
    test('has patterns that Go reads as well', () => {
      for (const [path, { pattern }] of walk(root)) {
        if (pattern === undefined) continue;
        assert.doesNotMatch(pattern, /\(\?[=!<]|\\u|\[\^?\]|\\[bBdwDW]/, path);
        assert.match(pattern, /^\^.*\$$/, path);
        assert.ok(new RegExp(pattern, 'u'), path);
      }
    });

    test('has the conditions that the controller writes', () => {
      const conditions = root.properties?.['status']?.properties?.['conditions'];
      const condition = {
        type: 'Accepted',
        status: 'False',
        observedGeneration: 1,
        lastTransitionTime: '2026-11-28T00:00:00Z',
        reason: 'Invalid',
        message: 'spec.mode: missing',
      };
      assert.ok(conditions);
      assert.deepEqual(validate(conditions, [condition, { ...condition, type: 'Programmed' }]), []);
      assert.notDeepEqual(validate(conditions, [condition, condition]), []);
    });

    test('has the fields that the parser reads, and no others', () => {
      const later = unsupported
        .filter((entry) => entry.plural === plural)
        .map(({ field }) => field);
      const within = (path: string): boolean =>
        later.some((field) => path.startsWith(`${field}.`) || path.startsWith(`${field}[`));
      const described = [...walk(root)]
        .map(([path]) => path)
        .filter((path) => /^spec\b.*[^\]}]$/.test(path) && !within(path));
      const asked = documents
        .flatMap((document) => [...fieldsAskedFor(document)])
        .filter((path) => path.startsWith('spec.') && !/\.matchLabels\./.test(path));
      assert.deepEqual([...new Set(asked)].sort(), described.sort());
    });

    test('accepts what the parser accepts: documents with every field, and with few', () => {
      for (const document of documents) {
        assert.deepEqual(validate(schema, document['spec']), []);
        assert.equal(parseResource(document).problems, undefined);
      }
    });

    test('has the defaults of the parser', () => {
      for (const document of documents) {
        const filled = withDefaults(schema, document['spec']) as Fields;
        assert.deepEqual(validate(schema, filled), []);
        assert.deepEqual(parseResource(documentOf(plural, filled)), parseResource(document));
      }
      for (const [path, at] of walk(schema))
        if (at.default !== undefined) assert.deepEqual(validate(at, at.default), [], path);
    });

    test('takes what this version does not apply, and the parser says so', () => {
      for (const { field, spec } of unsupported.filter((entry) => entry.plural === plural)) {
        assert.deepEqual(validate(schema, spec), [], field);
        const { problems = [] } = parseResource(documentOf(plural, spec));
        assert.ok(problems.every(isUnsupported), JSON.stringify(problems));
        assert.ok(
          problems.some(({ path }) => path.replaceAll(/\[\d+\]/g, '[]') === field),
          field,
        );
      }
    });

    test('refuses what the parser refuses, and nothing else', () => {
      const used = new Set<object>();
      let refused = 0;
      let accepted = 0;
      const values = Map.groupBy(
        documents.flatMap(({ spec }) => [...valuesOf(spec, 'spec')]),
        ([path]) => path,
      );
      const byPath = new Map([...values].map(([path, found]) => [path, found.map(([, at]) => at)]));
      for (const { spec } of documents) {
        for (const { what, value } of mutants(schema, spec, byPath, 'spec')) {
          const errors = validate(schema, withDefaults(schema, value));
          const { problems = [] } = parseResource({ ...documentOf(plural, {}), spec: value });
          const alone = problems.filter(({ path, message }) => {
            const entry = parserAlone.find(
              (one) => one.path.test(path) && one.message.test(message),
            );
            if (entry && errors.length === 0) used.add(entry);
            return entry;
          });
          const both = problems.length - alone.length - problems.filter(isUnsupported).length;
          if (errors.length === 0) assert.equal(both, 0, `${what}: ${JSON.stringify(problems)}`);
          else assert.notEqual(problems.length, 0, `${what}: ${JSON.stringify(errors)}`);
          if (errors.length === 0) accepted += 1;
          else refused += 1;
        }
      }
      assert.ok(refused > 300 && accepted > 100, `${refused} refused, ${accepted} accepted`);
      for (const entry of used) needed.add(entry);
    });
  });
}

const needed = new Set<object>();

test('what the parser alone refuses is all that the schemas leave to it', () => {
  assert.deepEqual(
    parserAlone.filter((entry) => !needed.has(entry)),
    [],
  );
});

test('policies of a namespace and of the cluster differ in whose accounts they name alone', () => {
  const strip = (plural: string): string =>
    JSON.stringify(specSchema(plural), (key, value: unknown) =>
      key === 'description' ? undefined : value,
    );
  const ofAccounts = ['"required":["namespace","name"]', '"required":["name"]'] as const;
  assert.equal(strip('clusterauditpolicies').replace(...ofAccounts), strip('auditpolicies'));
});
