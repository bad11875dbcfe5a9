import { ChaperoneError } from '#core/errors.ts';
import { maxNameBytes } from '#core/postgres/frontend.ts';

/** What would go up in it would be in no record: the backend does not look at it. */
export function assertEmpty(body: Buffer): void {
  if (body.length > 0)
    throw new ChaperoneError('protocol-violation', 'the agent sent a message that is not empty');
}

/** The same holds for what is behind the part of a name that the backend looks at. */
export function assertCut(nameBytes: number): void {
  if (nameBytes > maxNameBytes)
    throw new ChaperoneError('unsupported', `names of more than ${maxNameBytes} bytes are cut by PostgreSQL`); // prettier-ignore
}

/** Whether a message is refused in its place, and the connection goes on. */
export function isRefusable({ code }: ChaperoneError): boolean {
  return code === 'too-large' || code === 'unsupported';
}
