/**
 * Schema 4: who reads is on record; operations have a narrow row each, and texts a shape without constants, for those who look at sessions
 * without the right to see what is in them. They read views in the schema `grafana`, which show each login the
 * namespaces that `grafana.access` gives it.
 */
export const schema4 = `
  ALTER TABLE sessions ADD COLUMN attachment text;

  -- What a request or the text of a Parse was, and how it ended; the records stay the truth. A period is that of texts.
  CREATE TABLE operations (
    period      timestamptz NOT NULL,
    stream      uuid NOT NULL,
    seq         bigint NOT NULL,
    session     uuid NOT NULL,
    time        timestamptz NOT NULL,
    request     boolean NOT NULL,
    text        uuid,
    verdict     text NOT NULL,
    reason      text NOT NULL,
    policy      text,
    rule        text,
    status      text,
    error       text,
    rows        bigint,
    duration_us bigint
  ) PARTITION BY RANGE (period);
  -- A text with its constants replaced, by the id of the text; null for one that cannot be read.
  CREATE TABLE shapes (period timestamptz NOT NULL, id uuid NOT NULL, shape text) PARTITION BY RANGE (period);

  CREATE FUNCTION add_operations(suffix text, low timestamptz, high timestamptz) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format('CREATE TABLE operations_%s (LIKE operations, PRIMARY KEY (stream, seq))', suffix);
    EXECUTE format('CREATE INDEX ON operations_%s (session, seq)', suffix);
    EXECUTE format('CREATE TABLE shapes_%s (LIKE shapes, PRIMARY KEY (id))', suffix);
    EXECUTE format('ALTER TABLE operations ATTACH PARTITION operations_%s FOR VALUES FROM (%L) TO (%L)', suffix, low, high);
    EXECUTE format('ALTER TABLE shapes ATTACH PARTITION shapes_%s FOR VALUES FROM (%L) TO (%L)', suffix, low, high);
  END $$;
  SELECT add_operations(suffix, low, high) FROM partitions;
  ALTER FUNCTION add_partition(text, timestamptz, timestamptz) RENAME TO add_records;
  CREATE FUNCTION add_partition(suffix text, low timestamptz, high timestamptz) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM add_records(suffix, low, high);
    PERFORM add_operations(suffix, low, high);
  END $$;

  -- Who read what through the collector.
  CREATE TABLE reads (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    minute   timestamptz NOT NULL,
    who      text NOT NULL,
    what     text NOT NULL,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    times    bigint NOT NULL DEFAULT 1,
    UNIQUE (minute, who, what)
  );

  CREATE SCHEMA grafana;
  CREATE TABLE grafana.access (
    role      name NOT NULL,
    namespace text NOT NULL,
    PRIMARY KEY (role, namespace)
  );
  COMMENT ON TABLE grafana.access IS 'Namespaces whose sessions a login sees; * is all of them';

  -- The login decides, whatever role it sets. A barrier keeps functions of who asks from rows that are not for them.
  CREATE VIEW grafana.sessions WITH (security_barrier) AS
  SELECT s.id AS session, s.principal, t.namespace, t.pod, t.service_account, s.attachment, s.protocol, s.backend, s.database,
         s.started_at AS started, s.ended_at AS ended, s.end_reason, s.requests, s.denied, s.errors, s.rows
  FROM sessions s JOIN streams t USING (stream)
  WHERE s.started_at IS NOT NULL
    AND EXISTS (SELECT FROM grafana.access a WHERE a.role = session_user AND a.namespace IN ('*', t.namespace));

  CREATE VIEW grafana.statements WITH (security_barrier) AS
  SELECT x.session, x.started_at AS started, coalesce(h.shape, '(not readable)') AS statement
  FROM statements x JOIN streams t USING (stream) LEFT JOIN shapes h ON h.period = x.period AND h.id = x.text
  WHERE EXISTS (SELECT FROM grafana.access a WHERE a.role = session_user AND a.namespace IN ('*', t.namespace));

  -- A Parse shows by what was bound to it, and by itself where nothing could be.
  CREATE VIEW grafana.timeline WITH (security_barrier) AS
  SELECT o.session, o.time, o.seq,
         CASE WHEN o.text IS NULL THEN '(not recorded)' ELSE coalesce(h.shape, '(not readable)') END AS statement,
         o.verdict, o.reason, o.policy, o.rule, o.status, o.error, o.rows, o.duration_us / 1000.0 AS duration_ms
  FROM operations o JOIN streams t USING (stream)
    LEFT JOIN LATERAL (
      SELECT shape FROM shapes WHERE shapes.id = o.text AND shapes.period <= o.period ORDER BY shapes.period DESC LIMIT 1
    ) h ON true
  WHERE (o.request OR o.verdict = 'Deny' OR o.status = 'error')
    AND EXISTS (SELECT FROM grafana.access a WHERE a.role = session_user AND a.namespace IN ('*', t.namespace));

  -- Roles are the whole server's, and not everybody's store may make them: then its operator does.
  DO $$
  BEGIN
    BEGIN
      CREATE ROLE chaperone_grafana NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN
      RAISE NOTICE 'the role chaperone_grafana is not made here';
    END;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'chaperone_grafana') THEN
      GRANT USAGE ON SCHEMA grafana TO chaperone_grafana;
      GRANT SELECT ON grafana.sessions, grafana.statements, grafana.timeline TO chaperone_grafana;
    END IF;
  END $$;
`;
