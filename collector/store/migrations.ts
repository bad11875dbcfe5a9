import type { PoolClient } from 'pg';
import { locks } from './locks.ts';
import { schema2 } from './schema-2.ts';
import { schema4 } from './schema-4.ts';

/** Schema 1: everything in one table each. */
export const schema1 = `
  CREATE TABLE streams (
    stream          uuid PRIMARY KEY,
    pod             text NOT NULL,
    namespace       text NOT NULL,
    service_account text NOT NULL,
    acked_seq       bigint NOT NULL DEFAULT 0,
    head_link       bytea,
    first_seen      timestamptz NOT NULL DEFAULT clock_timestamp()
  );
  CREATE TABLE records (
    stream      uuid NOT NULL,
    seq         bigint NOT NULL,
    session     uuid,
    header      bytea NOT NULL,
    header_hash bytea NOT NULL,
    salt        bytea,
    payload     bytea,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, seq)
  );
  CREATE INDEX records_session ON records (session, seq) WHERE session IS NOT NULL;
  CREATE TABLE sessions (
    stream     uuid NOT NULL,
    id         uuid NOT NULL,
    protocol   text,
    backend    text,
    database   text,
    principal  text,
    groups     text[],
    started_at timestamptz,
    ended_at   timestamptz,
    end_reason text,
    requests   bigint NOT NULL DEFAULT 0,
    denied     bigint NOT NULL DEFAULT 0,
    errors     bigint NOT NULL DEFAULT 0,
    rows       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, id)
  );
  CREATE INDEX sessions_id ON sessions (id);
  CREATE INDEX sessions_started ON sessions (started_at DESC, id DESC);
  CREATE INDEX sessions_principal ON sessions (principal, started_at DESC);
  CREATE TABLE statements (
    stream  uuid NOT NULL,
    seq     bigint NOT NULL,
    session uuid,
    text    text NOT NULL,
    PRIMARY KEY (stream, seq)
  );
  CREATE INDEX statements_session ON statements (session);
  -- Trigrams make searches for a part of a text fast. Where the extension may not be made, searches only take longer.
  DO $$
  BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX statements_text ON statements USING gin (text gin_trgm_ops);
  EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'pg_trgm is not available';
  END $$;
`;

/** Schema 3: what was set aside of a pod within an hour is counted. */
const schema3 = `
  CREATE INDEX quarantine_recent ON quarantine (pod, namespace, service_account, received_at);
`;

/** Steps of the schema, in order; a step that has been released is never changed. */
const migrations: readonly string[] = [schema1, schema2, schema3, schema4];

/** The schema is newer than this version knows: nothing that is tried again helps. */
export class SchemaTooNew extends Error {
  override readonly name = 'SchemaTooNew';
}

/**
 * Brings the schema up to date; replicas that start at once wait for each other.
 * @throws SchemaTooNew
 */
export async function migrate(client: PoolClient): Promise<void> {
  await client.query('SET LOCAL statement_timeout = 0'); // moving what is there takes as long as it takes
  await client.query('SELECT pg_advisory_xact_lock($1)', [locks.schema]);
  await client.query('CREATE TABLE IF NOT EXISTS schema_version (version int NOT NULL)');
  const { rows } = await client.query<{ version: number }>('SELECT version FROM schema_version');
  const version = rows[0]?.version ?? 0;
  if (version > migrations.length) {
    throw new SchemaTooNew(
      `the store has schema ${version}, this version knows ${migrations.length}: update the collector`,
    );
  }
  for (const step of migrations.slice(version)) await client.query(step);
  await client.query('DELETE FROM schema_version');
  await client.query('INSERT INTO schema_version VALUES ($1)', [migrations.length]);
}
