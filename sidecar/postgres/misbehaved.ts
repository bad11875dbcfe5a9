import { ChaperoneError } from '#core/errors.ts';

/** A backend that sends what it may not send now. */
export function backendMisbehaved(tag: number): ChaperoneError {
  return new ChaperoneError(
    'protocol-violation',
    `the backend sent an unexpected message (${tag})`,
  );
}
