/** How an error reaches the peer: its SQLSTATE, and whether the message may be shown. */
interface ErrorMeaning {
  /** SQLSTATE that PostgreSQL peers see. */
  readonly sqlState: string;
  /** Whether the message may be sent to the peer; otherwise the peer reads `summary`. */
  readonly exposed: boolean;
  /** What a peer reads when the message is not exposed, and what `docs/errors.md` explains. */
  readonly summary: string;
}

/** Every error code of Chaperone; `docs/errors.md` explains each, and a test holds the two together. */
export const errorCodes = {
  'audit-unavailable': {
    sqlState: '53100',
    exposed: true,
    summary: 'the operation cannot be recorded, so it was not run',
  },
  'backend-login-failed': {
    sqlState: '08004',
    exposed: false,
    summary: 'the backend did not accept the login that Chaperone holds for it',
  },
  'backend-refused': {
    sqlState: '08004',
    exposed: true,
    summary: 'the backend refused the connection',
  },
  'backend-unreachable': {
    sqlState: '08001',
    exposed: false,
    summary: 'the backend could not be reached',
  },
  'config-invalid': { sqlState: 'F0000', exposed: false, summary: 'the configuration is invalid' },
  'connection-closed': {
    sqlState: '08006',
    exposed: false,
    summary: 'the connection was closed during login',
  },
  denied: { sqlState: '42501', exposed: true, summary: 'a policy denies this' },
  draining: { sqlState: '57P01', exposed: true, summary: 'the gateway is shutting down' },
  'encryption-required': {
    sqlState: '28000',
    exposed: true,
    summary: 'a token is not taken over a connection that others can read',
  },
  'internal-error': {
    sqlState: 'XX000',
    exposed: false,
    summary: 'an internal error ended the connection',
  },
  limit: { sqlState: '53400', exposed: true, summary: 'more is used than a policy allows' },
  'login-failed': { sqlState: '28P01', exposed: false, summary: 'the login was not accepted' },
  'login-timeout': { sqlState: '08006', exposed: true, summary: 'the login took too long' },
  'no-policy': { sqlState: '42501', exposed: true, summary: 'no policy selects this pod' },
  'protocol-violation': {
    sqlState: '08P01',
    exposed: true,
    summary: 'the peer broke the protocol',
  },
  'record-invalid': { sqlState: 'XX000', exposed: false, summary: 'a record does not verify' },
  'request-timeout': {
    sqlState: '57014',
    exposed: true,
    summary: 'the request took longer than a policy allows',
  },
  'session-ended': { sqlState: '57P01', exposed: true, summary: 'the session was ended' },
  'too-large': { sqlState: '54000', exposed: true, summary: 'the message is too large to judge' },
  'too-many-connections': {
    sqlState: '53300',
    exposed: true,
    summary: 'the gateway serves as many connections as it may',
  },
  'syntax-error': {
    sqlState: '42601',
    exposed: true,
    summary: 'the statement has a mistake in its syntax',
  },
  'too-many-sessions': {
    sqlState: '53300',
    exposed: true,
    summary: 'there are as many sessions as a policy allows',
  },
  'token-expired': { sqlState: '57P01', exposed: true, summary: 'the token has expired' },
  unreadable: {
    sqlState: '42501',
    exposed: true,
    summary: 'what this does cannot be judged before it runs',
  },
  unsupported: { sqlState: '0A000', exposed: true, summary: 'this is not supported' },
} as const satisfies Record<string, ErrorMeaning>;

/** One of the documented error codes. */
export type ErrorCode = keyof typeof errorCodes;

/** The one error class of Chaperone: an expected failure with a documented code. */
export class ChaperoneError extends Error {
  override readonly name = 'ChaperoneError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** What the peer may read: the message of an exposed code, else the code's summary. */
  get peerMessage(): string {
    const meaning: ErrorMeaning = errorCodes[this.code];
    return meaning.exposed ? this.message : meaning.summary;
  }
}

/** Returns the SQLSTATE that a PostgreSQL peer sees for a code. */
export function sqlStateOf(code: ErrorCode): string {
  return errorCodes[code].sqlState;
}
