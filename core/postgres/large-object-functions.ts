import type { FunctionFact } from '../facts.ts';

/**
 * What libpq's large-object functions call by FunctionCall messages, which name a function by its OID alone. These OIDs are
 * assigned by hand in pg_proc.dat and the same in every server, and nobody can make a function with such a one.
 */
export const largeObjectFunctions: ReadonlyMap<number, FunctionFact> = new Map(
  Object.entries({
    lo_create: 715,
    lo_open: 952,
    lo_close: 953,
    loread: 954,
    lowrite: 955,
    lo_lseek: 956,
    lo_creat: 957,
    lo_tell: 958,
    lo_unlink: 964,
    lo_truncate: 1004,
    lo_lseek64: 3170,
    lo_tell64: 3171,
    lo_truncate64: 3172,
  }).map(([name, oid]) => [oid, { schema: 'pg_catalog', name }]),
);
