import pino, { type Logger } from 'pino';

/**
 * Creates the log of a process: one JSON object a line on standard error, with a constant message and never any
 * content. A log that cannot be written, on a full disk for example, ends nothing: what has to be kept is a record.
 */
export function createLog(part: string, level: string): Logger {
  const destination = pino.destination({ fd: 2, sync: true });
  destination.on('error', () => undefined);
  return pino({ level, base: { part } }, destination);
}
