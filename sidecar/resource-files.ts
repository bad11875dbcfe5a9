import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, LineCounter, parseAllDocuments, type Document } from 'yaml';
import type { ResourceProblem } from '#core/control.ts';
import { parseResource } from '#core/policy/parse.ts';
import type { Problem, Resource } from '#core/policy/resources.ts';

/** A resource with the place that it came from. */
export interface LocatedResource {
  readonly resource: Resource;
  /** Turns a mistake found later into one with file and line. */
  locate(problem: Problem): ResourceProblem;
}

export interface ResourceFiles {
  readonly resources: readonly LocatedResource[];
  readonly problems: readonly ResourceProblem[];
}

const maxFiles = 100;
const maxFileBytes = 1024 * 1024;
const maxAliases = 100; // of YAML: a few lines of aliases can stand for gigabytes

/** Reads every `*.yaml` and `*.yml` of a directory, in order of name. Mistakes are problems, never exceptions. */
export async function readResourceFiles(directory: string): Promise<ResourceFiles> {
  const names = await tryList(directory);
  if (names === undefined)
    return { resources: [], problems: [at(directory, 'cannot be read: is it a directory?')] };
  if (names.length > maxFiles)
    return { resources: [], problems: [at(directory, `holds more than ${maxFiles} files`)] };
  const files = await Promise.all(names.map((name) => readResourceFile(join(directory, name))));
  return {
    resources: files.flatMap(({ resources }) => resources),
    problems: files.flatMap(({ problems }) => problems),
  };
}

async function tryList(directory: string): Promise<string[] | undefined> {
  try {
    return (await readdir(directory)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort();
  } catch {
    return undefined; // said as a problem
  }
}

async function readResourceFile(file: string): Promise<ResourceFiles> {
  let text: string;
  try {
    if ((await stat(file)).size > maxFileBytes)
      return { resources: [], problems: [at(file, 'is larger than 1 MiB')] };
    text = await readFile(file, 'utf8');
  } catch {
    return { resources: [], problems: [at(file, 'cannot be read')] };
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, {
    lineCounter: lines,
    uniqueKeys: true,
    version: '1.2',
  });
  const parsed = Array.isArray(documents)
    ? documents.map((document) => parseDocument(file, document, lines))
    : [];
  return {
    resources: parsed.flatMap(({ resources }) => resources),
    problems: parsed.flatMap(({ problems }) => problems),
  };
}

function parseDocument(file: string, document: Document.Parsed, lines: LineCounter): ResourceFiles {
  const lineAt = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  const broken = [...document.errors, ...document.warnings];
  if (broken.length > 0) {
    const problems = broken.map((error) => ({
      file,
      line: lineAt(error.pos[0]),
      path: '',
      message: error.message.split('\n')[0] ?? 'not YAML',
    }));
    return { resources: [], problems };
  }
  if (document.contents === null) return { resources: [], problems: [] };
  const locate = (problem: Problem): ResourceProblem => ({
    file,
    line: lineAt(offsetOf(document, problem.path)),
    path: problem.path,
    message: problem.message,
  });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: maxAliases });
  } catch {
    return { resources: [], problems: [at(file, 'uses too many YAML aliases')] };
  }
  const { resource, problems = [] } = parseResource(value);
  return resource
    ? { resources: [{ resource, locate }], problems: [] }
    : { resources: [], problems: problems.map(locate) };
}

/** Offset of the field at a path such as `spec.consumers[0].namespace`, or of the nearest one above it that exists. */
function offsetOf(document: Document.Parsed, path: string): number {
  const keys = path.split(/[.[\]]+/).filter((key) => key !== '');
  for (let depth = keys.length; depth > 0; depth -= 1) {
    const steps = keys.slice(0, depth).map((key) => (/^\d+$/.test(key) ? Number(key) : key));
    const last = steps.at(-1);
    const parent =
      steps.length === 1 ? document.contents : document.getIn(steps.slice(0, -1), true);
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalarWith(key, last));
      if (pair && hasRange(pair.key)) return pair.key.range[0];
    } else {
      const node: unknown = document.getIn(steps, true);
      if (hasRange(node)) return node.range[0];
    }
  }
  return document.range[0];
}

function isScalarWith(node: unknown, value: unknown): boolean {
  return (
    typeof node === 'object' &&
    node !== null &&
    'value' in node &&
    String(node.value) === String(value)
  );
}

function hasRange(node: unknown): node is { range: [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range);
}

function at(file: string, message: string): ResourceProblem {
  return { file, line: 1, path: '', message };
}
