import { readFileSync } from 'node:fs';
import { Client, DatabaseError } from 'pg';

/**
 * The agent of the demo: an ordinary PostgreSQL client. It knows where to connect and its own token, which come over
 * standard input, and nothing of Chaperone. It says what it does, one JSON string a line.
 */

interface Task {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly token: string;
}

async function main(): Promise<void> {
  const task = JSON.parse(readFileSync(0, 'utf8')) as Task; // the supervisor wrote it
  const client = new Client({
    host: task.host,
    port: task.port,
    database: task.database,
    user: 'analyst',
    password: task.token,
    application_name: 'demo-agent',
  });
  await client.connect();
  say('logged in as "analyst" with a token: it has no database password');

  const count = await client.query<{ count: string }>('SELECT count(*) FROM orders');
  say(`counted ${count.rows[0]?.count ?? '?'} orders`);

  const found = await client.query(
    'SELECT id, name, price FROM products WHERE price > $1 AND stock < $2 ORDER BY price DESC LIMIT 3',
    [150, 40],
  );
  say(
    `looked for dear products that run out, with parameters, and read ${found.rowCount ?? 0} rows`,
  );

  await client.query('BEGIN');
  await client.query('UPDATE orders SET status = $1 WHERE id = $2', ['shipped', 7]);
  await client.query('COMMIT');
  say('marked order 7 as shipped, in a transaction');

  try {
    await client.query('SELECT * FROM customer');
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    say(`made a mistake, and read: ${error.message}`);
  }

  try {
    await client.query('SELECT name, ssn FROM customers LIMIT 5');
    say('read social security numbers: no policy forbids it');
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    say(`asked for social security numbers, and read: ${error.message}`);
  }
  await client.end();
}

function say(text: string): void {
  process.stdout.write(`${JSON.stringify(text)}\n`);
}

await main();
