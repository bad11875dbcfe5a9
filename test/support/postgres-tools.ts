import { execFile } from 'node:child_process';
import { debianBinaries } from './backend-server.ts';
import type { PsqlLogin } from './psql.ts';

export interface ToolResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs one of PostgreSQL 15's own client programs over an unencrypted connection, and waits for its end. */
export function runTool(
  program: 'pg_dump' | 'pg_restore' | 'pgbench',
  args: readonly string[],
  { host, port, user = 'postgres', database = 'postgres', password }: PsqlLogin,
): Promise<ToolResult> {
  return new Promise((resolve) => {
    execFile(
      `${debianBinaries(15)}/${program}`,
      args,
      {
        env: {
          PATH: process.env['PATH'],
          LC_ALL: 'C.UTF-8',
          PGHOST: host,
          PGPORT: String(port),
          PGUSER: user,
          PGDATABASE: database,
          PGPASSWORD: password,
          PGSSLMODE: 'disable',
        },
        maxBuffer: 64 * 1024 * 1024,
        timeout: 300_000,
      },
      (error, out, err) => {
        const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
        resolve({ code, out, err });
      },
    );
  });
}
