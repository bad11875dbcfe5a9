import type { Understood } from '#core/policy/question.ts';
import type { Grammar } from '../grammar/grammar.ts';
import { Reader, type CatalogueSource, type Place, type Subject } from './reader.ts';
import { resolveText } from './readings.ts';
import type { TextMeaning } from './settings-query.ts';

export interface LoneTextOptions {
  readonly grammar: Pick<Grammar, 'read'>;
  /** Undefined: names stay as they are written. */
  readonly catalogue: CatalogueSource | undefined;
  /** Whom the session would log in to the backend as. */
  readonly currentUser: string;
}

const noCatalogue: CatalogueSource = { current: undefined, load: () => Promise.resolve() };
/** Of a session in which nothing has happened yet. */
const atRest: Place = { idle: true, mayAsk: false, status: 'I' };
const maxWaits = 4; // for the grammar, and for the catalogue, once or twice

/** Reads a text as the first of a session under PostgreSQL's default settings: what a real session has set, nobody knows here. */
export async function readLoneText(
  text: string,
  { grammar, catalogue = noCatalogue, currentUser }: LoneTextOptions,
): Promise<Understood> {
  const meaning = defaultMeaning(currentUser);
  const reader = new Reader({ grammar, catalogue, needed: () => true });
  reader.learn(meaning);
  const subject: Subject = { kind: 'text', text: Buffer.from(text) };
  for (let waits = 0; waits < maxWaits; waits += 1) {
    const obstacle = reader.obstacle(subject, atRest);
    if (!(obstacle instanceof Promise)) break;
    await obstacle;
  }
  const { facts } = reader.read(subject);
  const read = await grammar.read(text, reader);
  const statements =
    read.kind === 'survey' ? resolveText(read.survey, meaning, catalogue.current).statements : [];
  const unknown = statements.flatMap((statement) => statement.unknown);
  return { facts, hasCatalogue: catalogue.current !== undefined, unknown };
}

function defaultMeaning(currentUser: string): TextMeaning {
  const searchPath = ['$user', 'public'];
  return {
    searchPath,
    currentUser,
    decode: (bytes) => bytes.toString('utf8'),
    standardStrings: true,
    key: JSON.stringify([searchPath, currentUser]),
  };
}
