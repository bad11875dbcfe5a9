import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';

/** Writes docs/values.md from the values of the chart and their comments. */

const root = dirname(import.meta.dirname);
const source = join(root, 'charts/chaperone/values.yaml');
const target = join(root, 'docs/values.md');

const introduction = `# Values of the chart

Made from \`charts/chaperone/values.yaml\` by \`node tools/values-document.ts\`. The chart refuses values that it does not know and those that make no sense; [install.md](install.md) says which of them to set.

| value | default | what it is |
| ----- | ------- | ---------- |
`;

interface Row {
  readonly path: string;
  /** As JSON; empty for what is only a part of the tree. */
  readonly value: string;
  readonly comment: string;
}

/** Rows of what a mapping has; `before` is its path. */
function* rowsOf(map: YAMLMap, before: string): Generator<Row> {
  for (const [index, { key, value }] of map.items.entries()) {
    if (!isScalar(key)) throw new Error(`below "${before}": a key is no text`);
    const path = `${before}${String(key.value)}`;
    const comment = commentOf(map, index);
    if (!isMap(value) || !isExplained(value)) {
      yield { path, value: JSON.stringify(value), comment };
      continue;
    }
    if (comment !== '') yield { path, value: '', comment };
    yield* rowsOf(value, `${path}.`);
  }
}

/** The paragraph right before a key; before the first one, the parser counts it as being before the mapping. */
function commentOf(map: YAMLMap, index: number): string {
  const key = map.items[index]?.key;
  const ofKey = isScalar(key) ? key.commentBefore : undefined;
  const text = (index === 0 ? map.commentBefore : undefined) ?? ofKey ?? '';
  const [paragraph = ''] = text.split('\n\n').slice(-1);
  return paragraph
    .split('\n')
    .map((line) => line.trim())
    .join(' ');
}

function isExplained(map: YAMLMap): boolean {
  return map.items.some(
    ({ value }, index) => commentOf(map, index) !== '' || (isMap(value) && isExplained(value)),
  );
}

/** Makes the document of a file of values. */
export async function documentOf(yaml: string): Promise<string> {
  const { contents } = parseDocument(yaml);
  if (!isMap(contents)) throw new Error('the values are no mapping');
  const rows = [...rowsOf(contents, '')];
  const lines = rows.map(
    ({ path, value, comment }) =>
      `| \`${path}\` | ${value === '' ? '' : `\`${value}\``} | ${comment.replaceAll('|', '\\|')} |\n`,
  );
  const options = await resolveConfig(target);
  return format(introduction + lines.join(''), { ...options, parser: 'markdown' });
}

if (import.meta.main) writeFileSync(target, await documentOf(readFileSync(source, 'utf8')));
