import { randomBytes } from 'node:crypto';
import { secretCommand } from './cluster/secret-command.ts';

/** `chaperone trial-database`. */
export const trialDatabase = secretCommand({
  name: 'trial-database',
  summary: 'makes the password of the database that is there to try things out',
  what: 'the password of the chart’s own PostgreSQL',
  secret: 'chaperone-database',
  content: (namespace) => {
    const password = randomBytes(24).toString('base64url');
    const server = `chaperone-postgres.${namespace}.svc:5432`;
    return {
      password,
      url: `postgres://chaperone:${password}@${server}/chaperone?sslmode=disable`,
    };
  },
});
