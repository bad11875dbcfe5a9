/**
 * What may be logged of an error of the database: the error as it is carries the connection with what is in its buffers,
 * and a message about data quotes them.
 */
export function factsOf(error: unknown): object {
  const { name, message, code } = error as { name?: unknown; message?: unknown; code?: unknown };
  const isAboutData = typeof code === 'string' && /^2[23]/.test(code); // SQLSTATE classes
  return { name, code, message: isAboutData ? undefined : message };
}
