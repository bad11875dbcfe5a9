import { execFile } from 'node:child_process';

export interface PsqlResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Of `out`, as they came. */
  readonly bytes: Buffer;
}

export interface PsqlLogin {
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly database?: string;
  readonly password: string;
  /** Further words of the connection string, such as `sslmode=require`. */
  readonly settings?: string;
}

/** Runs a script by psql, as a person would, and waits for its end. */
export function psql(
  login: PsqlLogin,
  script: string | Buffer,
  args: readonly string[] = [],
): Promise<PsqlResult> {
  const { host, port, user = 'postgres', database = 'postgres', settings = '' } = login;
  const target = `host=${host} port=${port} user=${user} dbname=${database} ${settings}`;
  return new Promise((resolve) => {
    const child = execFile(
      'psql',
      ['-X', '-v', 'ON_ERROR_STOP=0', ...args, target],
      {
        env: {
          PATH: process.env['PATH'],
          PGPASSWORD: login.password,
          LC_ALL: 'C.UTF-8',
          PGCONNECT_TIMEOUT: '20',
        },
        maxBuffer: 64 * 1024 * 1024,
        encoding: 'buffer',
        timeout: 300_000,
      },
      (error, out, err) => {
        const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
        resolve({ code, out: out.toString(), err: err.toString(), bytes: out });
      },
    );
    child.stdin?.end(script);
  });
}
