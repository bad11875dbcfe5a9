import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { ChaperoneError, errorCodes } from '#core/errors.ts';
import { projectDirectory } from '../cli/instance.ts';
import { readConfig as readCollectorConfig } from '../collector/config.ts';
import { problemStatus } from '../collector/problem.ts';
import type { Environment } from '../runtime/settings.ts';
import { refusalReasons } from '../webhook/refusals.ts';
import { readConfig as readWebhookConfig } from '../webhook/config.ts';
import { readConfig as readControllerConfig } from '../controller/config.ts';
import { readConfig as readSidecarConfig } from '../sidecar/config.ts';
import { forImage } from '../tools/debian-packages.ts';
import { forCluster } from './cluster/packages.ts';

const find = (pattern: string): string[] => globSync(pattern, { cwd: projectDirectory }).sort();
const read = (path: string): string => readFileSync(join(projectDirectory, path), 'utf8');
const documents = ['README.md', 'CHANGELOG.md', ...find('docs/**/*.md')];
const folders =
  'core|sidecar|webhook|controller|collector|cli|runtime|test|tools|bench|examples|docs';

/** The cells of every row of a document's tables, without the backticks around a whole cell. */
function rowsOf(text: string): string[][] {
  return Array.from(text.matchAll(/^\| (.*) \|$/gm), ([, row = '']) =>
    row
      .split(/ \| /)
      .map((cell) => cell.trim().replaceAll('\\|', '|').replace(/^`([^`]*)`$/, '$1')),
  ); // prettier-ignore
}

/** What stands under a heading, up to the next. */
function sectionOf(text: string, heading: string): string {
  const [, section] = text.split(`\n## ${heading}\n`);
  if (section === undefined) throw new Error(`there is no "${heading}"`);
  return section.split('\n## ', 1)[0] ?? '';
}

describe('the documentation', () => {
  test('explains each error code with its SQLSTATE, and none that does not exist', () => {
    const rows = Array.from(
      read('docs/errors.md').matchAll(/^\| `([a-z-]+)` +\| ([0-9A-Z]{5}) /gm),
      ([, code, state]) => [code, state],
    );
    const codes = Object.entries(errorCodes).map(([code, { sqlState }]) => [code, sqlState]);
    assert.deepEqual(Object.fromEntries(rows), Object.fromEntries(codes));
  });

  test('explains each refusal of the collector with its status', () => {
    const rows = Array.from(
      read('docs/errors.md').matchAll(/^\| `([a-z-]+)` +\| (\d{3}) /gm),
      ([, code, status]) => [code, Number(status)],
    );
    assert.deepEqual(Object.fromEntries(rows), problemStatus);
  });

  test('explains each reason for which a pod is refused', () => {
    const rows = rowsOf(sectionOf(read('docs/errors.md'), 'Pods that are not let in')).slice(2);
    assert.deepEqual(new Set(rows.map(([reason]) => reason)), new Set(refusalReasons));
    assert.equal(rows.length, refusalReasons.length);
  });

  test('has each kind of record in the table of the format, and none that does not exist', () => {
    const kinds = Array.from(
      read('core/record/kinds.ts').matchAll(/^ +readonly kind: '([a-z.]+)';$/gm),
      ([, kind]) => kind,
    );
    const table = sectionOf(read('docs/audit-format.md'), 'Streams and their chain');
    const listed = rowsOf(table).slice(2).map(([kind]) => kind); // prettier-ignore
    assert.ok(kinds.length > 10, `${kinds.length} kinds`);
    assert.deepEqual(new Set(listed), new Set(kinds));
    assert.equal(listed.length, kinds.length);
  });

  test('names files that exist', () => {
    for (const file of documents) {
      for (const [, path = ''] of read(file).matchAll(
        new RegExp(`\`((?:${folders})/[^\`\\s*]*)\``, 'g'),
      ))
        assert.ok(existsSync(join(projectDirectory, path)), `${file}: ${path}`);
    }
  });

  test('names functions that are defined in the file that is named before them', () => {
    let named = 0;
    for (const paragraph of read('docs/architecture.md').split('\n')) {
      let source = '';
      for (const [, path, name = ''] of paragraph.matchAll(/`(?:([a-z/-]+\.ts)|(#?\w+)\(\))`/g)) {
        if (path !== undefined) source = read(path);
        else {
          assert.ok(definitionOf(name).test(source), name);
          named += 1;
        }
      }
    }
    assert.ok(named > 30, `${named} functions`);
  });

  test('names tests that are there where it makes promises', () => {
    const named = rowsOf(read('docs/guarantees.md')).flatMap((row) =>
      Array.from((row.at(-1) ?? '').matchAll(/`(test\/\S+)` “([^”]+)”/g), ([, file = '', title = '']) => ({ file, title })),
    );
    assert.ok(named.length >= 22, `${named.length} tests`);
    for (const { file, title } of named)
      assert.ok(read(file).replaceAll("\\'", "'").includes(title), `${file}: ${title}`);
  }); // prettier-ignore

  test('has no link that leads nowhere', () => {
    for (const file of documents) {
      for (const [, target = ''] of read(file).matchAll(/\]\((?!https?:)([^)#\s]+)/g)) {
        assert.ok(existsSync(join(projectDirectory, dirname(file), target)), `${file}: ${target}`);
      }
    }
  });
});

/** A function, or a method with its body: calls and signatures do not count. */
function definitionOf(name: string): RegExp {
  return new RegExp(
    [
      `^(?:export )?(?:async )?function\\*? ${name}\\b`,
      `^ {2,4}(?:static |async )*${name}\\(.*\\)(?:: .*)? \\{$`,
      `^ {2}(?:static |async )*${name}\\($`,
    ].join('|'),
    'm',
  );
}

describe('the list of dependencies', () => {
  const text = read('docs/dependencies.md');
  const listed = rowsOf(text.split('\n## ')[0] ?? '')
    .slice(2)
    .flatMap(([packages = '', , importers = '']) => {
      const [values = '', types = ''] = importers.split('types: ');
      const name = /[@a-z][\w@/.-]*/g;
      const placesIn = (cell: string): string[] =>
        cell === 'nobody' ? [] : [...(cell.match(name) ?? [])];
      return (packages.match(name) ?? []).map(
        (found) => [found, placesIn(values), placesIn(types)] as const,
      );
    });

  test('has every package of npm', () => {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
      read('package.json'),
    ) as Record<string, Record<string, string>>;
    const all = { ...dependencies, ...devDependencies, ...optionalDependencies };
    assert.deepEqual(listed.map(([name]) => name).sort(), Object.keys(all).sort());
  });

  test('has every package of Python and of Debian', () => {
    const python = Array.from(
      read('test/drivers/requirements.txt').matchAll(/^(\w+)/gm),
      ([name]) => name,
    );
    const programs = /function testPrograms\(\) \{[^]*?\n\}/.exec(read('tools/install.mjs'))?.[0];
    const debian = Array.from(programs?.matchAll(/, '([a-z0-9-]+)'\],/g) ?? [], ([, name]) => name);
    const ofTypeScript = [...forCluster, ...forImage].map(([, name]) => name);
    assert.ok(python.length > 0 && debian.length > 0 && ofTypeScript.length > 0);
    const rest = sectionOf(text, 'For the tests alone');
    for (const name of [...python, ...debian, ...ofTypeScript])
      assert.ok(rest.includes(`\`${name}\``), name);
  });

  test('says who imports each, and whether only types', () => {
    const imports = new Map<string, Set<string>>();
    for (const file of find(`{${folders.replaceAll('|', ',')}}/**/*.{ts,mjs}`)) {
      for (const [, type, name = ''] of read(file).matchAll(
        /^(?:import|export)( type)?\s(?:[^;']*?\sfrom\s)?'((?!node:)(?:@[\w-]+\/)?[\w-]+)/gm,
      )) {
        const key = type === undefined ? name : `${name} (types)`;
        imports.set(key, (imports.get(key) ?? new Set()).add(file));
      }
      for (const [, name = ''] of read(file).matchAll(/\bimport\('((?!node:)[@\w][\w/-]*)'\)/g))
        imports.set(name, (imports.get(name) ?? new Set()).add(file));
    }
    for (const [name, values, types] of listed) {
      const those = [...(imports.get(name) ?? [])];
      const asTypes = [...(imports.get(`${name} (types)`) ?? [])];
      assertWithin(name, those, values);
      assertWithin(`types of ${name}`, asTypes, [...types, ...values]);
      for (const place of [...values, ...types])
        assert.ok(
          [...those, ...asTypes].some((file) => file.startsWith(`${place}/`)),
          `${place} does not import ${name}`,
        );
    }
  });

  function assertWithin(what: string, files: readonly string[], places: readonly string[]): void {
    for (const file of files)
      assert.ok(
        places.some((place) => file.startsWith(`${place}/`)),
        `${file} imports ${what}`,
      );
  }
});

describe('the list of settings', () => {
  const text = read('docs/settings.md');
  const parts: [heading: string, readConfig: (env: Environment) => object, required: Environment][] = [
    ['Sidecar', readSidecarConfig, {
      CHAPERONE_MODE: 'explicit', CHAPERONE_POD_NAME: 'p', CHAPERONE_POD_NAMESPACE: 'n',
      CHAPERONE_SERVICE_ACCOUNT: 's', CHAPERONE_CONFIG_DIR: '/c', CHAPERONE_SPOOL_DIR: '/s',
      CHAPERONE_COLLECTOR_URL: 'https://collector', CHAPERONE_COLLECTOR_CA_FILE: '/ca',
    }],
    ['Collector', readCollectorConfig, { CHAPERONE_COLLECTOR_KEY_FILE: '/k' }],
    ['Webhook', readWebhookConfig, {
      CHAPERONE_IMAGE: 'i', CHAPERONE_CONTROLLER_URL: 'https://controller.c.svc', CHAPERONE_CONTROLLER_CA_FILE: '/ca',
      CHAPERONE_COLLECTOR_URL: 'https://collector.c.svc', CHAPERONE_COLLECTOR_CA_FILE: '/ca',
    }],
    ['Controller', readControllerConfig, {
      CHAPERONE_POD_NAME: 'p', CHAPERONE_POD_NAMESPACE: 'n', CHAPERONE_IMAGE: 'i',
      CHAPERONE_CONTROLLER_URL: 'https://controller.c.svc', CHAPERONE_COLLECTOR_URL: 'https://collector.c.svc',
    }],
  ]; // prettier-ignore
  for (const [heading, readConfig, required] of parts) {
    const rows = rowsOf(sectionOf(text, heading)).slice(2);

    test(`has each variable of the ${heading.toLowerCase()} with what it may be`, () => {
      const asked = new Set<string>();
      const impossible = new Proxy<Environment>({}, {
        get: (_, name) => {
          if (String(name).startsWith('CHAPERONE_')) asked.add(String(name));
          return String(name).endsWith('_SOCKET') ? undefined : ''; // any text is a path
        },
      }); // prettier-ignore
      const wants = new Map(
        mistakesOf(() => readConfig(impossible)).map((line) => {
          const [, name = '', want = ''] = /^(\w+): got "", want (.*)$/.exec(line) ?? [];
          return [name, want];
        }),
      );
      asked.delete('CHAPERONE_CONTROLLER_URL'); // or what only a pod has would be asked for
      const named = new Set(rows.map(([name]) => name));
      named.delete('CHAPERONE_CONTROLLER_URL');
      assert.deepEqual(named, asked);
      for (const [name = '', , want] of rows)
        if (wants.has(name)) assert.equal(want, wants.get(name), name);
    });

    test(`has the defaults of the ${heading.toLowerCase()}`, () => {
      const defaults = rows.filter(([, value]) => value !== 'required');
      assert.deepEqual(
        new Set(rows.filter(([, value]) => value === 'required').map(([name]) => name)),
        new Set(Object.keys(required)),
      ); // prettier-ignore
      const written = Object.fromEntries(
        defaults.map(([name = '', value]) => [name, value === 'empty' ? '' : value]),
      );
      assert.deepEqual(readConfig({ ...required, ...written }), readConfig(required));
      for (const name of Object.keys(required)) {
        const { [name]: _, ...others } = required;
        assert.match(mistakesOf(() => readConfig(others)).join(), new RegExp(`^${name}: got nothing`)); // prettier-ignore
      }
    });
  }

  test('has each variable that only a sidecar in a pod has, all of them required', () => {
    const rows = rowsOf(sectionOf(text, 'Sidecar in a pod')).slice(2);
    const elsewhere = new Set(rowsOf(sectionOf(text, 'Sidecar')).map(([name]) => name));
    const inPod = { CHAPERONE_CONTROLLER_URL: 'no URL' };
    const mistakes = mistakesOf(() => readSidecarConfig(inPod)).map((line) => {
      const [, name = '', want = ''] = /^(\w+): got .*, want (.*)$/.exec(line) ?? [];
      return [name, want] as const;
    });
    assert.deepEqual(
      new Map(rows.map(([name = '', , want = '']) => [name, want])),
      new Map(mistakes.filter(([name]) => !elsewhere.has(name))),
    );
    assert.ok(rows.every(([, value]) => value === 'required'));
  });

  test('has each variable of the command line', () => {
    const names = find('cli/**/*.ts').flatMap((file) =>
      Array.from(read(file).matchAll(/env\['(CHAPERONE_\w+)'\]/g), ([, name]) => name),
    );
    const rows = rowsOf(sectionOf(text, 'Command line')).slice(2);
    assert.deepEqual(
      rows.map(([name]) => name),
      names,
    );
  });

  function mistakesOf(readConfig: () => object): string[] {
    try {
      readConfig();
      return [];
    } catch (error) {
      assert.ok(error instanceof ChaperoneError);
      return error.message.split('\n');
    }
  }
});

test('every export of core says what it is, in a docstring', () => {
  const bare = find('core/**/*.ts').flatMap((file) => {
    const lines = read(file).split('\n');
    return lines.flatMap((line, index) =>
      /^export (?!type \{|\{|\*)/.test(line) && !lines[index - 1]?.endsWith('*/')
        ? [`${file}:${index + 1}`]
        : [],
    );
  });
  assert.deepEqual(bare, []);
});
