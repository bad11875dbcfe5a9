/** Objects that CREATE, ALTER and DROP name in the same words. */
const objects = [
  'ACCESS METHOD', 'AGGREGATE', 'COLLATION', 'CONVERSION', 'DATABASE', 'DOMAIN', 'EVENT TRIGGER', 'EXTENSION',
  'FOREIGN DATA WRAPPER', 'FOREIGN TABLE', 'FUNCTION', 'INDEX', 'LANGUAGE', 'MATERIALIZED VIEW', 'OPERATOR',
  'OPERATOR CLASS', 'OPERATOR FAMILY', 'POLICY', 'PROCEDURE', 'PUBLICATION', 'ROLE', 'ROUTINE', 'RULE', 'SCHEMA',
  'SEQUENCE', 'SERVER', 'STATISTICS', 'SUBSCRIPTION', 'TABLE', 'TABLESPACE', 'TEXT SEARCH CONFIGURATION',
  'TEXT SEARCH DICTIONARY', 'TEXT SEARCH PARSER', 'TEXT SEARCH TEMPLATE', 'TRANSFORM', 'TRIGGER', 'TYPE',
  'USER MAPPING', 'VIEW',
]; // prettier-ignore

const others = [
  'ALTER DEFAULT PRIVILEGES', 'ALTER LARGE OBJECT', 'ALTER SYSTEM', 'ANALYZE',
  'BEGIN', 'CALL', 'CHECKPOINT', 'CLOSE', 'CLUSTER', 'COMMENT', 'COMMIT',
  'COMMIT PREPARED', 'COPY FROM', 'COPY TO', 'CREATE CAST', 'CREATE TABLE AS', 'DEALLOCATE',
  'DECLARE CURSOR', 'DELETE', 'DISCARD', 'DO', 'DROP CAST', 'DROP OWNED', 'EXECUTE', 'EXPLAIN', 'FETCH', 'FUNCTION CALL', 'GRANT',
  'GRANT ROLE', 'IMPORT FOREIGN SCHEMA', 'INSERT', 'LISTEN', 'LOAD', 'LOCK TABLE', 'MERGE', 'MOVE', 'NOTIFY',
  'PREPARE', 'PREPARE TRANSACTION', 'REASSIGN OWNED', 'REFRESH MATERIALIZED VIEW', 'REINDEX', 'RELEASE', 'RESET',
  'REVOKE', 'REVOKE ROLE', 'ROLLBACK', 'ROLLBACK PREPARED', 'SAVEPOINT', 'SECURITY LABEL', 'SELECT', 'SELECT INTO', 'SET',
  'SET CONSTRAINTS', 'SHOW', 'START TRANSACTION', 'TRUNCATE TABLE', 'UNLISTEN', 'UPDATE', 'VACUUM',
]; // prettier-ignore
const impossible: ReadonlySet<string> = new Set([
  'ALTER ACCESS METHOD',
  'ALTER TRANSFORM',
  'CREATE ROUTINE',
]);

/**
 * The tags of PostgreSQL's commands (src/include/tcop/cmdtaglist.h of 15 to 18), with COPY split by its direction; and
 * FUNCTION CALL, which stands for the message of that name. Tags that no statement has, such as ALTER CAST, are left out: a
 * rule for one would never match. Neither would one for CLOSE CURSOR ALL: CLOSE, DEALLOCATE, DISCARD and SELECT stand for
 * all of their kind, which PostgreSQL tells apart. GRANT and REVOKE of roles have two tags, GRANT and GRANT ROLE.
 */
export const commandTags: ReadonlySet<string> = new Set([
  ...['CREATE', 'ALTER', 'DROP']
    .flatMap((verb) => objects.map((object) => `${verb} ${object}`))
    .filter((tag) => !impossible.has(tag)),
  ...others,
]);

/** Finds the tags that begin with these words and go on. */
export function tagsBeginningWith(words: string): readonly string[] {
  return [...commandTags].filter((tag) => tag.startsWith(`${words} `));
}

/** Finds tags that somebody may have meant who wrote what is none; none for what is like no tag. */
export function similarTags(written: string): readonly string[] {
  const upper = written.toUpperCase().trim().replace(/\s+/g, ' ');
  if (commandTags.has(upper)) return [upper];
  const shorter = [...commandTags].filter((tag) => upper.startsWith(`${tag} `));
  return [...tagsBeginningWith(upper), ...shorter];
}
