import type { RelationName, StatementFacts, TableAccess, Through } from '../facts.ts';
import { isHarmless } from './harmless-functions.ts';
import { writeName } from './names.ts';

/** What rules are about: a part of a statement that is denied or covered on its own. */
export type Element =
  | {
      readonly kind: 'command';
      readonly command: string;
      /** Of a statement that nobody can read in full: an Allow has to name it. */
      readonly opaque: boolean;
    }
  | (RelationName & {
      readonly kind: 'table';
      readonly access: TableAccess;
      readonly through: Through | undefined;
    })
  | (RelationName & {
      readonly kind: 'function';
      /** Needs no Allow. */
      readonly harmless: boolean;
    });

/** Returns a statement's elements: its commands first, in the order of the facts. */
export function elementsOf({
  commands,
  tables,
  functions,
  isOpaque,
}: StatementFacts): readonly Element[] {
  return [
    ...commands.map((command) => ({ kind: 'command', command, opaque: isOpaque }) as const),
    ...tables.map(
      ({ schema, name, access, through }) =>
        ({ kind: 'table', schema, name, access, through }) as const,
    ),
    ...functions.map(
      ({ schema, name }) =>
        ({
          kind: 'function',
          schema,
          name,
          harmless: isHarmless({ schema, name }),
        }) as const,
    ),
  ];
}

/** Says an element in words that fit on one line: `SELECT`, `Write on public.orders`, `function public.pay`. */
export function describeElement(element: Element): string {
  switch (element.kind) {
    case 'command':
      return printable(element.command);
    case 'table':
      return `${element.access} on ${printable(writeName(element))}`;
    case 'function':
      return `function ${printable(writeName(element))}`;
  }
}

const maxShown = 130; // two names of PostgreSQL's 63 bytes, with their quotes

// A name in quotes may hold anything, also what moves a terminal's cursor.
function printable(text: string): string {
  const line = text.replaceAll(/\p{C}|\p{Zl}|\p{Zp}/gu, '\u{fffd}');
  return line.length > maxShown ? `${line.slice(0, maxShown)}…` : line;
}
