import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, isScalar, LineCounter, parseAllDocuments, visit, type Document } from 'yaml';
import type { ResourceProblem } from '#core/control.ts';
import { parseResource } from '#core/policy/parse.ts';
import type { Problem, Resource } from '#core/policy/resources.ts';

/** The text of one file. */
export interface ResourceFile {
  readonly file: string;
  readonly text: string;
}

/** What a directory holds: mistakes are problems, never exceptions. */
export interface DirectoryContent {
  readonly files: readonly ResourceFile[];
  readonly problems: readonly ResourceProblem[];
}

/** A resource with the place that it came from. */
export interface LocatedResource {
  readonly resource: Resource;
  /** Turns a mistake found later into one with file and line. */
  locate(problem: Problem): ResourceProblem;
}

export interface ParsedFiles {
  readonly resources: readonly LocatedResource[];
  readonly problems: readonly ResourceProblem[];
}

const maxFiles = 100;
const maxFileBytes = 1024 * 1024;
const maxResources = 1_000;
const maxProblems = 100; // a file that is something else altogether has a mistake a line
const maxAliases = 100; // of YAML: a few lines of aliases can stand for gigabytes
const maxMessageLength = 200; // messages about YAML quote the file

/** Reads every `*.yaml` and `*.yml` of a directory, in order of name. */
export async function readResourceFiles(directory: string): Promise<DirectoryContent> {
  const names = await tryList(directory);
  if (names === undefined)
    return { files: [], problems: [at(directory, 'cannot be read: is it a directory?')] };
  if (names.length > maxFiles)
    return { files: [], problems: [at(directory, `holds more than ${maxFiles} files`)] };
  const read = await Promise.all(names.map((name) => readResourceFile(join(directory, name))));
  return {
    files: read.filter((result) => 'text' in result),
    problems: read.filter((result) => 'message' in result),
  };
}

async function tryList(directory: string): Promise<string[] | undefined> {
  try {
    return (await readdir(directory)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort();
  } catch {
    return undefined; // said as a problem
  }
}

async function readResourceFile(file: string): Promise<ResourceFile | ResourceProblem> {
  try {
    const status = await stat(file);
    // Reading a pipe would wait for somebody who writes, and every later change with it.
    if (!status.isFile()) return at(file, 'is not a file');
    if (status.size > maxFileBytes) return at(file, 'is larger than 1 MiB');
    const bytes = await readFile(file);
    return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (error) {
    return at(file, error instanceof TypeError ? 'is not UTF-8' : 'cannot be read');
  }
}

/** Parses files into resources that know where they stand. */
export function parseResourceFiles(files: readonly ResourceFile[]): ParsedFiles {
  const parsed = files.map(parseResourceFile);
  const resources = parsed.flatMap((file) => file.resources);
  const problems = parsed.flatMap((file) => file.problems);
  const [surplus] = resources.slice(maxResources);
  if (surplus) {
    const message = `there are more than ${maxResources} resources, of which this is the first`;
    problems.push(surplus.locate({ path: '', message }));
  }
  return { resources, problems };
}

function parseResourceFile({ file, text }: ResourceFile): ParsedFiles {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false, // compares each with each: a megabyte would take a minute. See checkKeys
    version: '1.2',
  });
  const parsed = [...documents].map((document) => parseDocument(file, document, lines));
  return {
    resources: parsed.flatMap(({ resources }) => resources),
    problems: parsed.flatMap(({ problems }) => problems),
  };
}

function parseDocument(file: string, document: Document.Parsed, lines: LineCounter): ParsedFiles {
  const problemAt = (offset: number, path: string, message: string): ResourceProblem => ({
    file,
    line: Math.max(1, lines.linePos(offset).line),
    path,
    message: message.slice(0, maxMessageLength),
  });
  const locate = ({ path, message }: Problem): ResourceProblem =>
    problemAt(offsetOf(document, path), path, message);
  const broken = [...document.errors, ...document.warnings]
    .slice(0, maxProblems)
    .map(({ pos, message }) => problemAt(pos[0], '', message));
  if (broken.length > 0) return { resources: [], problems: broken };
  if (document.contents === null) return { resources: [], problems: [] };
  let value: unknown;
  try {
    const wrongKeys = checkKeys(document).map((key) => problemAt(key.offset, '', key.message));
    if (wrongKeys.length > 0) return { resources: [], problems: wrongKeys };
    value = document.toJS({ maxAliasCount: maxAliases });
  } catch (error) {
    // An alias of nothing, too many of them, or nesting deeper than the stack.
    const message = error instanceof Error ? error.message : 'not YAML';
    return { resources: [], problems: [locate({ path: '', message })] };
  }
  const { resource, problems = [] } = parseResource(value);
  return resource
    ? { resources: [{ resource, locate }], problems: [] }
    : { resources: [], problems: problems.slice(0, maxProblems).map(locate) };
}

/** Finds keys that stand twice, where the last would win unseen, and those that are no plain values. */
function checkKeys(document: Document.Parsed): { offset: number; message: string }[] {
  const wrong: { offset: number; message: string }[] = [];
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<string>();
      for (const { key } of items) {
        const offset = hasRange(key) ? key.range[0] : 0;
        if (!isScalar(key)) wrong.push({ offset, message: 'a key has to be a plain value' });
        else if (seen.has(String(key.value)))
          wrong.push({ offset, message: 'the key stands twice' });
        else seen.add(String(key.value));
        if (wrong.length >= maxProblems) return visit.BREAK;
      }
      return undefined;
    },
  });
  return wrong;
}

/** Offset of the field at a path such as `spec.consumers[0].namespace`, or of the nearest one above it that exists. */
function offsetOf(document: Document.Parsed, path: string): number {
  const steps = stepsOf(path);
  for (let depth = steps.length; depth > 0; depth -= 1) {
    const last = steps[depth - 1];
    const parent =
      depth === 1 ? document.contents : document.getIn(steps.slice(0, depth - 1), true);
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalarWith(key, last));
      if (pair && hasRange(pair.key)) return pair.key.range[0];
    } else {
      const node: unknown = document.getIn(steps.slice(0, depth), true);
      if (hasRange(node)) return node.range[0];
    }
  }
  return hasRange(document.contents) ? document.contents.range[0] : document.range[0];
}

/** Splits a path into keys and indices; a key with dots stands in brackets, as a JSON string. */
function stepsOf(path: string): (string | number)[] {
  const steps = path.match(/\["(?:[^"\\]|\\.)*"\]|[^.[\]]+/g) ?? [];
  return steps.map((step) => {
    if (step.startsWith('[')) return String(JSON.parse(step.slice(1, -1)));
    return /^\d+$/.test(step) ? Number(step) : step;
  });
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
