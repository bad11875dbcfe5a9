import type { PostgresServer } from './postgres-server.ts';

export const demoDatabase = 'shop';
/** What the injected credential logs in as: it may read and write the shop, and owns nothing. */
export const demoRole = 'shop_app';

// Deterministic, so that what a newcomer reads in the README is what they see.
const schema = `
CREATE TABLE customers (
  id serial PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, ssn text NOT NULL, city text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE TABLE products (id serial PRIMARY KEY, name text NOT NULL, price numeric(8, 2) NOT NULL, stock int NOT NULL);
CREATE TABLE orders (
  id serial PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, status text NOT NULL, placed_at timestamptz NOT NULL
);
CREATE TABLE order_items (
  order_id int NOT NULL REFERENCES orders, product_id int NOT NULL REFERENCES products, quantity int NOT NULL,
  PRIMARY KEY (order_id, product_id)
);
INSERT INTO customers (name, email, ssn, city, created_at)
SELECT first || ' ' || last, lower(first || '.' || last || i) || '@example.com',
       lpad((i * 7919 % 900)::text, 3, '0') || '-' || lpad((i * 31 % 100)::text, 2, '0') || '-' || lpad((i * 6151 % 10000)::text, 4, '0'),
       (ARRAY['Lisbon', 'Oslo', 'Nairobi', 'Lima', 'Osaka'])[1 + i % 5], timestamptz '2026-01-01' + i * interval '7 hours'
FROM generate_series(1, 200) AS i,
     LATERAL (SELECT (ARRAY['Ada', 'Grace', 'Linus', 'Edsger', 'Barbara', 'Alan'])[1 + i % 6] AS first,
                     (ARRAY['Berg', 'Costa', 'Otieno', 'Quispe', 'Tanaka', 'Lind', 'Novak'])[1 + i % 7] AS last) AS names;
INSERT INTO products (name, price, stock)
SELECT (ARRAY['Lamp', 'Chair', 'Desk', 'Kettle', 'Rug'])[1 + i % 5] || ' ' || (ARRAY['Nord', 'Sol', 'Terra', 'Aqua'])[1 + i % 4],
       round((9.5 + (i * 37 % 200))::numeric, 2), i * 13 % 80
FROM generate_series(1, 40) AS i;
INSERT INTO orders (customer_id, status, placed_at)
SELECT 1 + i * 17 % 200, (ARRAY['paid', 'shipped', 'delivered', 'returned'])[1 + i % 4], timestamptz '2026-06-01' + i * interval '3 hours'
FROM generate_series(1, 400) AS i;
INSERT INTO order_items
SELECT i, 1 + (i * 7 + k * 11) % 40, 1 + (i + k) % 3 FROM generate_series(1, 400) AS i, generate_series(1, 2) AS k;
`;

/** Fills the demo database, at the first start alone. */
export async function loadDemoData(server: PostgresServer): Promise<void> {
  await server.administer(demoDatabase, async (client) => {
    const { rows } = await client.query<{ there: boolean }>(
      `SELECT to_regclass('orders') IS NOT NULL AS there`,
    );
    if (rows[0]?.there === true) return;
    await client.query('BEGIN');
    await client.query(schema);
    await client.query(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${demoRole}`,
    );
    await client.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${demoRole}`);
    await client.query('COMMIT');
  });
}
