/**
 * Schema 2: records, texts and statements lie in partitions that are dropped as a whole; streams know their key and how
 * they go on; what did not verify, what was found and the ledger have a place. What schema 1 held becomes the first
 * partition.
 */
export const schema2 = `
  ALTER TABLE streams
    ADD COLUMN public_key       text,
    ADD COLUMN signed_seq       bigint NOT NULL DEFAULT 0,
    ADD COLUMN ended            boolean NOT NULL DEFAULT false,
    ADD COLUMN silent           boolean NOT NULL DEFAULT false,
    ADD COLUMN previous_stream  uuid,
    ADD COLUMN last_received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN jump             boolean NOT NULL DEFAULT false,
    ADD COLUMN resume_seq       bigint,
    ADD COLUMN resume_link      bytea,
    ADD COLUMN cut_seq          bigint NOT NULL DEFAULT 0,
    ADD COLUMN cut_link         bytea,
    ADD COLUMN lag_ms           bigint,
    ADD COLUMN lag_at           timestamptz,
    ADD COLUMN skew_at          timestamptz;
  -- Streams of schema 1 said nothing of their ends: that they are silent is no news.
  UPDATE streams SET silent = true;
  -- None of what these hold changes with a batch, so that updates of a stream stay cheap.
  CREATE INDEX streams_open ON streams (first_seen) WHERE NOT ended AND NOT silent;
  CREATE INDEX streams_seen ON streams (first_seen DESC, stream DESC);
  CREATE INDEX streams_previous ON streams (previous_stream) WHERE previous_stream IS NOT NULL;

  ALTER TABLE records ADD COLUMN checkpoint boolean NOT NULL DEFAULT false;
  ALTER TABLE records RENAME TO records_1;
  ALTER TABLE statements RENAME TO statements_of_1;
  CREATE TABLE records (
    stream      uuid NOT NULL,
    seq         bigint NOT NULL,
    session     uuid,
    header      bytea NOT NULL,
    header_hash bytea NOT NULL,
    salt        bytea,
    payload     bytea,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    checkpoint  boolean NOT NULL DEFAULT false
  ) PARTITION BY RANGE (received_at);
  -- A text is kept once a period, with the sessions that used it: a trigram index costs per text. A period is the low
  -- end of the partition; an id is the first 16 bytes of the text's SHA-256.
  CREATE TABLE texts (period timestamptz NOT NULL, id uuid NOT NULL, text text NOT NULL) PARTITION BY RANGE (period);
  CREATE TABLE statements (
    period     timestamptz NOT NULL,
    text       uuid NOT NULL,
    started_at timestamptz NOT NULL,
    session    uuid NOT NULL,
    stream     uuid NOT NULL
  ) PARTITION BY RANGE (period);
  CREATE TABLE partitions (suffix text PRIMARY KEY, low timestamptz NOT NULL, high timestamptz NOT NULL);

  -- Uniqueness is each partition's own: the parent's would have to hold the time as well.
  CREATE FUNCTION add_partition(suffix text, low timestamptz, high timestamptz) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format('CREATE TABLE IF NOT EXISTS records_%s (LIKE records INCLUDING DEFAULTS, PRIMARY KEY (stream, seq))', suffix);
    EXECUTE format('CREATE INDEX ON records_%s (session, seq) WHERE session IS NOT NULL', suffix);
    EXECUTE format('CREATE INDEX ON records_%s (stream, seq) WHERE checkpoint', suffix);
    EXECUTE format('CREATE TABLE texts_%s (LIKE texts, PRIMARY KEY (id))', suffix);
    EXECUTE format('CREATE TABLE statements_%s (LIKE statements, PRIMARY KEY (text, started_at, session, stream))', suffix);
    EXECUTE format('CREATE INDEX ON statements_%s (session)', suffix);
    -- Where the extension could not be made searches only take longer.
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
      EXECUTE format('CREATE INDEX ON texts_%s USING gin (text gin_trgm_ops)', suffix);
    END IF;
    EXECUTE format('ALTER TABLE records ATTACH PARTITION records_%s FOR VALUES FROM (%L) TO (%L)', suffix, low, high);
    EXECUTE format('ALTER TABLE texts ATTACH PARTITION texts_%s FOR VALUES FROM (%L) TO (%L)', suffix, low, high);
    EXECUTE format('ALTER TABLE statements ATTACH PARTITION statements_%s FOR VALUES FROM (%L) TO (%L)', suffix, low, high);
    INSERT INTO partitions VALUES (suffix, low, high);
  END $$;

  ALTER TABLE sessions ADD COLUMN last_seq bigint NOT NULL DEFAULT 0;
  DO $$
  BEGIN
    IF EXISTS (SELECT FROM records_1) THEN
      DROP INDEX records_session;
      PERFORM add_partition('1', '-infinity', date_trunc('day', clock_timestamp(), 'UTC') + interval '1 day');
      INSERT INTO texts SELECT DISTINCT '-infinity'::timestamptz, encode(substr(sha256(convert_to(text, 'UTF8')), 1, 16), 'hex')::uuid, text
        FROM statements_of_1;
      INSERT INTO statements
        SELECT DISTINCT '-infinity'::timestamptz, encode(substr(sha256(convert_to(x.text, 'UTF8')), 1, 16), 'hex')::uuid, s.started_at, s.id, s.stream
        FROM statements_of_1 x JOIN sessions s ON s.stream = x.stream AND s.id = x.session WHERE s.started_at IS NOT NULL;
      UPDATE sessions s SET last_seq = coalesce(
        (SELECT max(seq) FROM records r WHERE r.session = s.id AND r.stream = s.stream), 0);
      UPDATE streams s SET last_received_at = coalesce(
        (SELECT received_at FROM records r WHERE r.stream = s.stream AND r.seq = s.acked_seq), s.first_seen);
    ELSE
      DROP TABLE records_1;
    END IF;
  END $$;
  DROP TABLE statements_of_1;

  CREATE TABLE ledger (n bigint PRIMARY KEY, line text NOT NULL, stream uuid NOT NULL, kind text NOT NULL);
  CREATE INDEX ledger_stream ON ledger (stream, n);
  -- The last head of each stream in the ledger; written under the ledger's lock alone.
  CREATE TABLE ledger_heads (stream uuid PRIMARY KEY, seq bigint NOT NULL);
  CREATE TABLE findings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time        timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind        text NOT NULL,
    stream      uuid,
    session     uuid,
    from_seq    bigint,
    to_seq      bigint,
    detail      text NOT NULL,
    resolved_at timestamptz
  );
  -- What is seen again, such as a batch that is sent twice, is one finding.
  CREATE UNIQUE INDEX findings_once ON findings
    (kind, coalesce(stream, '00000000-0000-0000-0000-000000000000'), coalesce(from_seq, 0), coalesce(to_seq, 0))
    WHERE kind IN ('gap', 'break', 'no-key', 'ledger-changed');
  CREATE INDEX findings_unfinished ON findings (stream) WHERE kind = 'stream-unfinished' AND resolved_at IS NULL;
  CREATE TABLE quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream          uuid,
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    after_seq       bigint NOT NULL,
    bytes           bytea,
    size            bigint NOT NULL,
    sha256          text NOT NULL,
    reason          text NOT NULL,
    pod             text NOT NULL,
    namespace       text NOT NULL,
    service_account text NOT NULL
  );
  CREATE UNIQUE INDEX quarantine_once ON quarantine
    (sha256, pod, namespace, service_account, coalesce(stream, '00000000-0000-0000-0000-000000000000'), after_seq);
  CREATE INDEX quarantine_kept ON quarantine (pod, namespace, service_account, size) WHERE bytes IS NOT NULL;
  CREATE INDEX quarantine_stream ON quarantine (stream);
  CREATE TABLE legal_holds (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT clock_timestamp(),
    held boolean NOT NULL,
    who  text NOT NULL,
    why  text NOT NULL
  );
`;
