import type { FunctionFact, StatementFacts, TableFact } from '#core/facts.ts';
import type { VerdictReason } from '#core/record/kinds.ts';
import { statement, table } from '../support/policies.ts';

/** What an example decides about a text. `facts` are what the text is known to do once its names are looked up. */
export interface ExampleCase {
  readonly file: string;
  readonly who: 'analyst' | 'stranger' | 'migrator';
  readonly text: string;
  readonly facts: StatementFacts;
  readonly action: 'Allow' | 'Deny';
  readonly reason: VerdictReason;
  readonly rule?: string;
}

type Expected = readonly [
  who: ExampleCase['who'],
  text: string,
  facts: StatementFacts,
  action: ExampleCase['action'],
  reason: VerdictReason,
  rule?: string,
];

const read = (name: string, columns: readonly string[] = ['*']): TableFact =>
  table(name, 'Read', { columns });
const write = (name: string, columns: readonly string[] = ['*']): TableFact =>
  table(name, 'Write', { columns });
const define = (name: string, columns: readonly string[] = ['*']): TableFact =>
  table(name, 'Define', { columns });
const calls = (schema: string, ...names: readonly string[]): FunctionFact[] =>
  names.map((name) => ({ schema, name }));

const select = (given: Partial<StatementFacts>): StatementFacts =>
  statement({ commands: ['SELECT'], hasWhere: false, readOnly: true, ...given });
const change = (command: string, given: Partial<StatementFacts>): StatementFacts =>
  statement({ commands: [command], hasWhere: false, readOnly: false, ...given });
const plain = (command: string, given: Partial<StatementFacts> = {}): StatementFacts =>
  statement({ commands: [command], readOnly: false, ...given });

const expected: Readonly<Record<string, readonly Expected[]>> = {
  'read-only-analyst': [
    ['analyst', 'SELECT name, price FROM products', select({ tables: [read('public.products', ['name', 'price'])] }), 'Allow', 'rule', 'analysts-read'],
    ['analyst', 'SELECT sum(price) FROM products', select({ tables: [read('public.products', ['price'])], functions: calls('pg_catalog', 'sum') }), 'Allow', 'rule', 'analysts-read'],
    ['analyst', 'BEGIN', statement({ commands: ['BEGIN'] }), 'Allow', 'rule', 'transactions-and-settings'],
    ['analyst', "SET datestyle = 'ISO'", plain('SET', { settings: ['datestyle'], readOnly: true }), 'Allow', 'rule', 'transactions-and-settings'],
    ['analyst', 'SET ROLE postgres', plain('SET', { settings: ['role'], readOnly: true }), 'Deny', 'not-covered'],
    ['analyst', 'UPDATE products SET price = 0', change('UPDATE', { tables: [write('public.products', ['price'])] }), 'Deny', 'not-covered'],
    ['analyst', 'WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone', change('SELECT', { commands: ['SELECT', 'DELETE'], tables: [write('public.orders'), read('public.orders', ['id'])] }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT rolpassword FROM pg_authid', select({ tables: [read('pg_catalog.pg_authid', ['rolpassword'])] }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT name FROM products, hr.salaries', select({ tables: [read('public.products', ['name']), read('hr.salaries', ['name'])] }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT name FROM no_such_table', select({ tables: [read('no_such_table', ['name'])] }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT pg_sleep(10)', select({ functions: calls('pg_catalog', 'pg_sleep') }), 'Deny', 'not-covered'],
    ['analyst', 'COPY products TO STDOUT', plain('COPY TO', { tables: [read('public.products')], copy: { direction: 'To', target: 'Client' }, readOnly: true }), 'Deny', 'not-covered'],
    ['analyst', 'DO $$ BEGIN DELETE FROM orders; END $$', plain('DO', { isOpaque: true }), 'Deny', 'opaque'],
    ['stranger', 'SELECT name, price FROM products', select({ tables: [read('public.products', ['name', 'price'])] }), 'Deny', 'default-action'],
  ],
  'no-ddl': [
    ['analyst', 'SELECT name FROM products', select({ tables: [read('public.products', ['name'])] }), 'Allow', 'default-action'],
    ['analyst', 'DELETE FROM orders WHERE id = 1', change('DELETE', { tables: [write('public.orders'), read('public.orders', ['id'])], hasWhere: true }), 'Allow', 'default-action'],
    ['analyst', 'DROP TABLE orders', plain('DROP TABLE', { tables: [define('public.orders')] }), 'Deny', 'rule', 'no-definitions'],
    ['analyst', 'CREATE INDEX ON orders (status)', plain('CREATE INDEX', { tables: [define('public.orders', ['status'])] }), 'Deny', 'rule', 'no-definitions'],
    ['analyst', 'TRUNCATE orders', plain('TRUNCATE TABLE', { tables: [write('public.orders')] }), 'Deny', 'rule', 'no-definitions'],
    ['analyst', 'SELECT * INTO copied FROM orders', change('SELECT INTO', { commands: ['SELECT INTO', 'SELECT'], tables: [read('public.orders'), define('copied')] }), 'Deny', 'rule', 'no-definitions'],
    ['analyst', 'GRANT SELECT ON orders TO public', plain('GRANT', { tables: [define('public.orders')] }), 'Deny', 'rule', 'no-definitions'],
    ['analyst', "DO $$ BEGIN EXECUTE 'dr' || 'op table orders'; END $$", plain('DO', { isOpaque: true }), 'Deny', 'rule', 'no-unread-code'],
  ],
  'no-pii-tables': [
    ['analyst', 'SELECT city FROM customers', select({ tables: [read('public.customers', ['city'])] }), 'Allow', 'default-action'],
    ['analyst', 'SELECT email FROM customers', select({ tables: [read('public.customers', ['email'])] }), 'Deny', 'rule', 'no-contact-data'],
    ['analyst', 'SELECT * FROM customers', select({ tables: [read('public.customers')] }), 'Deny', 'rule', 'no-contact-data'],
    ['analyst', 'COPY customers TO STDOUT', plain('COPY TO', { tables: [read('public.customers')], copy: { direction: 'To', target: 'Client' }, readOnly: true }), 'Deny', 'rule', 'no-contact-data'],
    ['analyst', 'SELECT city FROM contacts', select({ tables: [read('public.contacts', ['city']), table('public.customers', 'Read', { columns: ['city', 'email'], through: { kind: 'View', schema: 'public', name: 'contacts' } })] }), 'Deny', 'rule', 'no-contact-data'],
    ['analyst', 'SELECT number FROM vault.payment_cards', select({ tables: [read('vault.payment_cards', ['number'])] }), 'Deny', 'rule', 'no-payment-data'],
    ['analyst', 'SELECT o.id FROM orders o JOIN hr.staff s ON s.id = o.id', select({ tables: [read('public.orders', ['id']), read('hr.staff', ['id'])] }), 'Deny', 'rule', 'no-payment-data'],
    ['analyst', 'SELECT number FROM payment_cards', select({ tables: [read('payment_cards', ['number'])] }), 'Deny', 'rule', 'no-payment-data'],
  ],
  'row-and-rate-limits': [
    ['analyst', 'UPDATE products SET price = 1 WHERE id = 1', change('UPDATE', { tables: [write('public.products', ['price']), read('public.products', ['id'])], hasWhere: true }), 'Allow', 'default-action'],
    ['analyst', 'UPDATE products SET price = 1', change('UPDATE', { tables: [write('public.products', ['price'])] }), 'Deny', 'rule', 'no-change-without-where'],
    ['analyst', 'DELETE FROM orders', change('DELETE', { tables: [write('public.orders')] }), 'Deny', 'rule', 'no-change-without-where'],
    ['analyst', 'WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone WHERE id > 0', change('SELECT', { commands: ['SELECT', 'DELETE'], tables: [write('public.orders'), read('public.orders', ['id'])] }), 'Deny', 'rule', 'no-change-without-where'],
    ['analyst', 'SELECT * FROM order_items', select({ tables: [read('public.order_items')] }), 'Deny', 'rule', 'order-items-with-a-limit'],
    ['analyst', 'SELECT * FROM order_items LIMIT 10', select({ tables: [read('public.order_items')], limit: 10 }), 'Allow', 'default-action'],
    ['analyst', 'SELECT * FROM order_items LIMIT $1', select({ tables: [read('public.order_items')], limit: true }), 'Allow', 'default-action'],
    ['analyst', 'SELECT * FROM order_items WHERE order_id = 3', select({ tables: [read('public.order_items', ['*', 'order_id'])], hasWhere: true }), 'Allow', 'default-action'],
    ['analyst', 'INSERT INTO orders VALUES (1)', plain('INSERT', { tables: [write('public.orders')] }), 'Allow', 'default-action'],
  ],
  'migrations-only-from-ci': [
    ['migrator', 'ALTER TABLE orders ADD note text', plain('ALTER TABLE', { tables: [define('public.orders', ['note'])] }), 'Allow', 'rule', 'ci-migrates'],
    ['migrator', 'DO $$ BEGIN PERFORM 1; END $$', plain('DO', { isOpaque: true }), 'Allow', 'rule', 'ci-migrates'],
    ['migrator', 'EXECUTE what_nobody_saw', plain('EXECUTE', { isOpaque: true }), 'Deny', 'opaque'],
    ['stranger', 'ALTER TABLE orders ADD note text', plain('ALTER TABLE', { tables: [define('public.orders', ['note'])] }), 'Deny', 'not-covered'],
    ['stranger', 'INSERT INTO orders VALUES (1)', plain('INSERT', { tables: [write('public.orders')] }), 'Allow', 'rule', 'rows-for-everybody'],
    ['stranger', 'COPY orders TO STDOUT', plain('COPY TO', { tables: [read('public.orders')], copy: { direction: 'To', target: 'Client' }, readOnly: true }), 'Allow', 'rule', 'rows-for-everybody'],
    ['stranger', "COPY orders TO PROGRAM 'sh'", plain('COPY TO', { tables: [read('public.orders')], copy: { direction: 'To', target: 'Program' }, isOpaque: true }), 'Deny', 'opaque'],
    ['stranger', 'DO $$ BEGIN PERFORM 1; END $$', plain('DO', { isOpaque: true }), 'Deny', 'opaque'],
  ],
  'functions-allow-listed': [
    ['analyst', 'SELECT order_total(id), lower(status) FROM orders', select({ tables: [read('public.orders', ['id', 'status'])], functions: [...calls('public', 'order_total'), ...calls('pg_catalog', 'lower')] }), 'Allow', 'rule', 'functions'],
    ['analyst', 'SELECT pricing.quote(1)', select({ functions: calls('pricing', 'quote') }), 'Allow', 'rule', 'functions'],
    ['analyst', "INSERT INTO orders VALUES (nextval('orders_id_seq'))", plain('INSERT', { tables: [write('public.orders'), write('public.orders_id_seq')], functions: calls('pg_catalog', 'nextval') }), 'Allow', 'rule', 'functions'],
    ['analyst', "SELECT pg_read_file('/etc/passwd')", select({ functions: calls('pg_catalog', 'pg_read_file') }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT zap(id) FROM orders', select({ tables: [read('public.orders', ['id'])], functions: calls('public', 'zap') }), 'Deny', 'not-covered'],
    ['analyst', 'SELECT order_total(1) FROM nowhere', select({ tables: [read('nowhere', [])], functions: calls('public', 'order_total') }), 'Deny', 'not-covered'],
  ],
  tools: [
    ['analyst', 'SELECT relname FROM pg_catalog.pg_class', select({ tables: [read('pg_catalog.pg_class', ['relname'])] }), 'Allow', 'rule', 'describe'],
    ['analyst', 'SELECT name FROM products', select({ tables: [read('public.products', ['name'])] }), 'Allow', 'rule', 'describe'],
    ['analyst', 'LOCK TABLE public.products IN ACCESS SHARE MODE', statement({ commands: ['LOCK TABLE'], tables: [read('public.products')] }), 'Allow', 'rule', 'dump'],
    ['analyst', 'COPY public.products (id) TO stdout', plain('COPY TO', { tables: [read('public.products', ['id'])], copy: { direction: 'To', target: 'Client' }, readOnly: true }), 'Allow', 'rule', 'dump'],
    ['analyst', "COPY products TO PROGRAM 'sh'", plain('COPY TO', { tables: [read('public.products')], copy: { direction: 'To', target: 'Program' }, isOpaque: true }), 'Deny', 'opaque'],
    ['analyst', 'DROP TABLE products', plain('DROP TABLE', { tables: [define('public.products')] }), 'Deny', 'not-covered'],
    ['analyst', 'DROP TABLE pgbench_tellers', plain('DROP TABLE', { tables: [define('public.pgbench_tellers')] }), 'Allow', 'rule', 'bench'],
    ['analyst', 'DO $$ BEGIN END $$', plain('DO', { isOpaque: true }), 'Deny', 'opaque'],
  ],
}; // prettier-ignore

export const exampleCases: readonly ExampleCase[] = Object.entries(expected).flatMap(
  ([name, cases]) =>
    cases.map(([who, text, facts, action, reason, rule]) => ({
      file: `${name}.yaml`,
      who,
      text,
      facts,
      action,
      reason,
      ...(rule !== undefined && { rule }),
    })),
);
