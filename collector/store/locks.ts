/**
 * Keys of the advisory locks that replicas share: "chap" in ASCII and the ones after it, which no other program takes.
 * Who needs several locks takes them in one order, so that nobody waits for each other: these but the ledger's, then rows
 * of streams by their ids, then tables in the order records, texts, statements, operations, shapes (a query locks its tables in the order in
 * which it names them), then the ledger's.
 */
export const locks = {
  schema: 0x63686170,
  partitions: 0x63686171,
  legalHold: 0x63686172,
  retention: 0x63686174,
  ledger: 0x63686173,
} as const;
