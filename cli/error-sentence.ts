import { ChaperoneError } from '#core/errors.ts';

/** Says an error in a sentence, with the code of what lies behind it, such as `ECONNREFUSED` or that of a certificate. */
export function sentenceOf(error: ChaperoneError): string {
  const code = codeOf(error.cause);
  return code === undefined ? error.message : `${error.message} (${code})`;
}

function codeOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  const isOurs = cause instanceof ChaperoneError; // its message says what its code does
  if (!isOurs && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return codeOf(cause.cause);
}
