/** What a viewer of a dashboard has chosen. */
export interface Chosen {
  readonly from: Date;
  readonly to: Date;
  readonly intervalSeconds: number;
  /** By name. Several values of a variable that takes several; `all` for its "All". */
  readonly values: Readonly<Record<string, string | readonly string[] | { readonly all: string }>>;
}

/**
 * Expands a query as Grafana's PostgreSQL data source does: first the variables, in the browser (one value has its quotes
 * doubled, several are quoted and joined, a custom "All" stands as it is), then the macros, in the server.
 */
export function expandSql(rawSql: string, { from, to, intervalSeconds, values }: Chosen): string {
  const given = { ...values, __interval: `${intervalSeconds}s` };
  const known = new Map<string, Chosen['values'][string]>(Object.entries(given));
  const interpolated = rawSql.replaceAll(
    /\$(\w+)|\$\{(\w+)(?::(\w+))?\}/g,
    (whole: string, plain?: string, braced?: string, format?: string) => {
      const value = known.get(plain ?? braced ?? '');
      if (value === undefined) return whole; // a macro, or nothing of Grafana's
      if (format !== undefined) throw new Error(`what the format ${format} does is not known here`);
      if (typeof value === 'string') return doubled(value);
      return 'all' in value ? value.all : value.map((each) => `'${doubled(each)}'`).join(',');
    },
  );
  return interpolated.replaceAll(
    /\$(__[_a-zA-Z0-9]+)\(([^)]*)\)/g,
    (_whole, name: string, list: string) => {
      const [column = '', interval = ''] = list.split(',').map((each) => each.trim());
      const time = (at: Date): string => `'${at.toISOString()}'`;
      switch (name) {
        case '__timeFilter':
          return `${column} BETWEEN ${time(from)} AND ${time(to)}`;
        case '__timeFrom':
          return time(from);
        case '__timeTo':
          return time(to);
        case '__timeGroupAlias': {
          const seconds = Number(/^(\d+)s$/.exec(interval)?.[1]);
          return `floor(extract(epoch from ${column})/${seconds})*${seconds} AS "time"`;
        }
        default:
          throw new Error(`what the macro ${name} does is not known here`);
      }
    },
  );
}

function doubled(text: string): string {
  return text.replaceAll("'", "''");
}
