/** For a JSON schema. */
export const uuidPattern = '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
const uuid = new RegExp(uuidPattern);

/** Whether a value is a whole UUID as records have it: 36 characters, in lower case. */
export function isUuid(value: unknown): value is string {
  return typeof value === 'string' && uuid.test(value);
}
