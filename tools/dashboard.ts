import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  ReduceDataOptionsBuilder,
  type DataSourceRef,
} from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  TextBoxVariableBuilder,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type DynamicConfigValue,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/**
 * Writes the dashboard of the chart, as Grafana imports it. It reads the views of the schema `grafana` and nothing else,
 * through Grafana's own PostgreSQL data source.
 */

export const dashboardFile = join(
  import.meta.dirname,
  '../charts/chaperone/dashboards/sessions.json',
);

const uid = 'chaperone-sessions';
const type = 'grafana-postgresql-datasource';
const datasource: DataSourceRef = { type, uid: '${datasource}' };

/** A query in SQL: the SDK has no builder for this data source. */
class Sql {
  readonly #query: object;

  constructor(rawSql: string, format: 'table' | 'time_series') {
    this.#query = { refId: 'A', datasource, editorMode: 'code', rawQuery: true, rawSql, format };
  }

  build(): { _implementsDataqueryVariant(): void } {
    // The method is a mark of types alone: it stands in no JSON.
    return { ...this.#query, _implementsDataqueryVariant: () => undefined };
  }
}

/** In place of a list of all values, which may be long, and without which nobody could see sessions that have none. */
const anyOf = (column: string): string => `coalesce(${column}, '')`;

const filters = ['principal', 'pod', 'backend'] as const;

const ofFilter = (column: (typeof filters)[number]): QueryVariableBuilder =>
  new QueryVariableBuilder(column)
    .label(`${column.slice(0, 1).toUpperCase()}${column.slice(1)}`)
    .datasource(datasource)
    .query(
      `SELECT DISTINCT ${column} FROM grafana.sessions WHERE $__timeFilter(started) AND ${column} IS NOT NULL ORDER BY 1`,
    )
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.Disabled)
    .multi(true)
    .includeAll(true)
    .allValue(anyOf(column))
    .current({ selected: true, text: ['All'], value: ['$__all'] });

/** Sessions `s` that are asked for. What is quoted has its quotes doubled by Grafana. */
const wanted = [
  '$__timeFilter(s.started)',
  ...filters.map((column) => `${anyOf(column)} IN ($${column})`),
  `('$text' = '' OR EXISTS (SELECT FROM grafana.statements x WHERE x.session = s.session AND strpos(lower(x.statement), lower('$text')) > 0))`,
].join('\n  AND ');

/** The session that is looked at, or none for what is no id. */
const chosen = `substring('$session' FROM '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$')::uuid`;

const stats = `
SELECT count(*) AS "Sessions", count(*) FILTER (WHERE ended IS NULL) AS "Open",
  coalesce(sum(requests), 0)::bigint AS "Requests", coalesce(sum(denied), 0)::bigint AS "Denied",
  coalesce(sum(errors), 0)::bigint AS "Errors", coalesce(sum(rows), 0)::bigint AS "Rows"
FROM grafana.sessions s
WHERE ${wanted}`;

const overTime = `
SELECT $__timeGroupAlias(s.started, $__interval), coalesce(s.backend, '') AS metric, sum(s.requests)::bigint AS "Requests"
FROM grafana.sessions s
WHERE ${wanted}
GROUP BY 1, 2
ORDER BY 1`;

const list = `
SELECT s.started AS "Started", s.ended AS "Ended", s.principal AS "Principal", s.namespace AS "Namespace", s.pod AS "Pod",
  s.service_account AS "Service account", s.attachment AS "Attachment", s.backend AS "Backend", s.database AS "Database",
  s.requests AS "Requests", s.denied AS "Denied", s.errors AS "Errors", s.rows AS "Rows", s.end_reason AS "End",
  s.session::text AS "Session"
FROM grafana.sessions s
WHERE ${wanted}
ORDER BY s.started DESC
LIMIT 500`;

const about = `
SELECT s.principal AS "Principal", s.namespace AS "Namespace", s.pod AS "Pod", s.backend AS "Backend", s.started AS "Started",
  s.ended AS "Ended", s.end_reason AS "End"
FROM grafana.sessions s
WHERE s.session = ${chosen}`;

const timeline = `
SELECT t.time AS "Time", t.statement AS "Statement", t.verdict AS "Verdict", t.policy AS "Policy", t.rule AS "Rule",
  t.status AS "Status", t.error AS "Error", t.rows AS "Rows", t.duration_ms::float8 AS "Duration"
FROM grafana.timeline t
WHERE t.session = ${chosen}
ORDER BY t.time, t.seq
LIMIT 5000`;

/** Keeps range and filters, and chooses the session of the row. */
const toTimeline = `/d/${uid}?\${__url_time_range}&${filters.map((name) => `\${${name}:queryparam}`).join('&')}&\${text:queryparam}&\${datasource:queryparam}&var-session=\${__value.raw}`;

const property = (id: string, value: unknown): DynamicConfigValue => ({ id, value });
const coloured = (colours: Readonly<Record<string, string>>): DynamicConfigValue[] => [
  property('custom.cellOptions', { type: 'color-text' }),
  property('mappings', [
    { type: 'value', options: Object.fromEntries(Object.entries(colours).map(([value, color]) => [value, { color, text: value }])) }, // prettier-ignore
  ]),
];
const redAboveNone: DynamicConfigValue[] = [
  property('custom.cellOptions', { type: 'color-text' }),
  property('thresholds', {
    mode: 'absolute',
    steps: [
      { value: null, color: 'text' },
      { value: 1, color: 'red' },
    ],
  }),
];

const table = (title: string, sql: string): TableBuilder =>
  new TableBuilder().title(title).datasource(datasource).withTarget(new Sql(sql.trim(), 'table'));

/** Builds the dashboard "Sessions": which there were, and what one of them did. */
export function buildDashboard(): Dashboard {
  return new DashboardBuilder('Sessions')
    .uid(uid)
    .description('What agents did through Chaperone, without constants, parameters and rows')
    .tags(['chaperone'])
    .readonly()
    .time({ from: 'now-24h', to: 'now' })
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type(type))
    .withVariable(ofFilter('principal'))
    .withVariable(ofFilter('pod'))
    .withVariable(ofFilter('backend'))
    .withVariable(new TextBoxVariableBuilder('text').label('Text of a statement').defaultValue(''))
    .withVariable(new TextBoxVariableBuilder('session').label('Session').defaultValue(''))
    .withPanel(
      new StatBuilder()
        .title('In this time')
        .datasource(datasource)
        .withTarget(new Sql(stats.trim(), 'table'))
        .reduceOptions(
          new ReduceDataOptionsBuilder().values(false).calcs(['lastNotNull']).fields('/.*/'),
        )
        .gridPos({ x: 0, y: 0, w: 24, h: 4 }),
    )
    .withPanel(
      new TimeSeriesBuilder()
        .title('Requests by backend, by when their session began')
        .datasource(datasource)
        .withTarget(new Sql(overTime.trim(), 'time_series'))
        .gridPos({ x: 0, y: 4, w: 24, h: 6 }),
    )
    .withPanel(
      table('Sessions', list)
        .description('The newest 500. The link of a session shows its timeline below.')
        .overrideByName('Session', [
          property('links', [{ title: 'Show its timeline', url: toTimeline }]),
        ])
        .overrideByName('Denied', redAboveNone)
        .overrideByName('Errors', redAboveNone)
        .gridPos({ x: 0, y: 10, w: 24, h: 12 }),
    )
    .withRow(new RowBuilder('Session $session').gridPos({ x: 0, y: 22, w: 24, h: 1 }))
    .withPanel(table('Of whom', about).gridPos({ x: 0, y: 23, w: 24, h: 4 }))
    .withPanel(
      table('Timeline', timeline)
        .description('The first 5000 statements, with their constants replaced.')
        .overrideByName('Verdict', coloured({ Allow: 'green', Deny: 'red' }))
        .overrideByName('Duration', [property('unit', 'ms')])
        .overrideByName('Statement', [
          property('custom.minWidth', 400),
          property('custom.inspect', true),
        ]) // prettier-ignore
        .gridPos({ x: 0, y: 27, w: 24, h: 16 }),
    )
    .build();
}

/** The dashboard as it lies in the chart. */
export function dashboardJson(): string {
  return `${JSON.stringify(buildDashboard(), undefined, 2)}\n`;
}

if (import.meta.main) {
  mkdirSync(dirname(dashboardFile), { recursive: true });
  writeFileSync(dashboardFile, dashboardJson());
}
