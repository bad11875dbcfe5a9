/** Returns the token of a request's `Authorization` (RFC 6750), or an empty text, which is nobody's. */
export function bearerToken(authorization: string | undefined): string {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
}
