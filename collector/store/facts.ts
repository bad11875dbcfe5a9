/**
 * What a log may say of an error of the store. As it is it carries the connection with what is in its buffers, and a
 * message about data quotes that.
 */
export function factsOf(error: unknown): object {
  const { name, message, code } = error as { name?: unknown; message?: unknown; code?: unknown };
  const isAboutData = typeof code === 'string' && /^2[23]/.test(code); // SQLSTATE classes
  return { name, code, message: isAboutData ? undefined : message };
}
