import { Client } from 'pg';
import {
  beginCatalogue,
  catalogueQueries,
  type CatalogueQuery,
  type CatalogueRows,
} from '#core/postgres/sql/catalogue-queries.ts';

/** Runs the catalogue's queries, values as PostgreSQL writes them. */
export async function queryCatalogue(
  client: Client,
  queries = catalogueQueries,
): Promise<CatalogueRows> {
  await client.query(beginCatalogue);
  const rows = async (name: CatalogueQuery): Promise<(string | null)[][]> => {
    const query = { text: queries[name], rowMode: 'array', types: asText } as const;
    return (await client.query<(string | null)[]>(query)).rows;
  };
  const all = {
    schemas: await rows('schemas'),
    roles: await rows('roles'),
    relations: await rows('relations'),
    inheritance: await rows('inheritance'),
    uses: await rows('uses'),
    calls: await rows('calls'),
    functions: await rows('functions'),
    operators: await rows('operators'),
  };
  await client.query('rollback');
  return all;
}

const asText = { getTypeParser: () => (value: string) => value };
