/**
 * Makes text that others wrote safe to print: an escape sequence in a recorded value could otherwise rewrite the screen
 * of the auditor who reads it. What is not seen, such as bidirectional controls and tags, is shown too: it reorders or
 * hides what is read.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`;
  });
}

/** The same for text of several lines, such as SQL: line breaks stay, indented. */
export function printableLines(text: string, indent: string): string {
  return text.split(/\r?\n/).map(printable).join(`\n${indent}`);
}

const maxCellWidth = 60;

/** Lays out rows as a table with a header; long cells are cut. */
export function table(
  names: readonly string[],
  rows: readonly (readonly (string | null)[])[],
): string[] {
  const shown = rows.map((row) =>
    row.map((cell) => (cell === null ? 'NULL' : cut(printable(cell)))),
  );
  const header = names.map((name) => cut(printable(name)));
  const widths = header.map((name, column) =>
    shown.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), name.length),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(' | ')
      .trimEnd();
  return [line(header), widths.map((width) => '-'.repeat(width)).join('-+-'), ...shown.map(line)];
}

function cut(text: string): string {
  return text.length > maxCellWidth ? `${text.slice(0, maxCellWidth - 1)}…` : text;
}
