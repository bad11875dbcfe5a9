import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JWTPayload,
} from 'jose';
import type { ProviderKeys } from '../policy/resolve.ts';
import type { Principal } from './principal.ts';

/** Why a token is not accepted: for the record, never for the agent. */
export type TokenFault =
  | 'too-long'
  | 'malformed'
  | 'wrong-type'
  | 'unknown-issuer'
  | 'unknown-key'
  | 'ambiguous-key'
  | 'bad-algorithm'
  | 'bad-signature'
  | 'wrong-audience'
  | 'expired'
  | 'not-yet-valid'
  | 'bad-claims';

/** Who a token says that its bearer is, or why it is not believed. */
export type TokenVerdict =
  | { readonly ok: true; readonly principal: Extract<Principal, { kind: 'token' }> }
  | {
      readonly ok: false;
      readonly reason: TokenFault;
      /** The provider whose keys lack the one that the token names: worth one refresh. */
      readonly unknownKeyOf?: string;
    };

/** Signatures with public keys alone: with a secret that both sides know, whoever checks could also have signed. */
const algorithms = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519',
]; // prettier-ignore
/** What a token may say that it is: others of an issuer's tokens (a logout token, say) are no login (RFC 8725, 3.11). */
const types = [undefined, 'jwt', 'at+jwt', 'application/jwt', 'application/at+jwt'];
/** How far the issuer's clock and ours may differ; the session ends at `exp` without it. */
const clockToleranceSeconds = 5;
const maxTokenLength = 16_384; // far more than issuers make, far less than what would cost time to refuse
const maxNameLength = 256;
const maxGroups = 512;

/**
 * Verifies a JWT against the providers' keys: signature, `iss`, `aud`, `exp`, `nbf`. Keys come from the providers
 * alone; what the token's header offers (`jwk`, `jku`, `x5u`) is not looked at.
 */
export async function verifyToken(
  token: string,
  providers: readonly ProviderKeys[],
  nowSeconds: number,
): Promise<TokenVerdict> {
  if (token.length > maxTokenLength) return { ok: false, reason: 'too-long' };
  const claimed = tryDecode(token);
  if (!claimed) return { ok: false, reason: 'malformed' };
  if (!algorithms.includes(claimed.algorithm)) return { ok: false, reason: 'bad-algorithm' };
  if (!types.includes(claimed.type)) return { ok: false, reason: 'wrong-type' };
  const provider = providers.find(({ issuer }) => issuer === claimed.issuer);
  if (!provider) return { ok: false, reason: 'unknown-issuer' };
  try {
    const { payload } = await jwtVerify(token, keySetOf(provider), {
      algorithms,
      issuer: provider.issuer,
      audience: [...provider.audiences],
      clockTolerance: clockToleranceSeconds,
      currentDate: new Date(nowSeconds * 1000),
      requiredClaims: ['exp', 'iss', 'aud'],
    });
    const principal = toPrincipal(provider, payload);
    return principal ? { ok: true, principal } : { ok: false, reason: 'bad-claims' };
  } catch (error) {
    const reason = faultOf(error);
    return reason === 'unknown-key'
      ? { ok: false, reason, unknownKeyOf: provider.name }
      : { ok: false, reason };
  }
}

// Importing keys costs more than verifying: once a provider object, which lives as long as its bundle.
const keySets = new WeakMap<ProviderKeys, ReturnType<typeof createLocalJWKSet>>();

function keySetOf(provider: ProviderKeys): ReturnType<typeof createLocalJWKSet> {
  const known = keySets.get(provider);
  if (known) return known;
  const set = createLocalJWKSet({ keys: [...provider.keys] });
  keySets.set(provider, set);
  return set;
}

interface ClaimedToken {
  readonly algorithm: string;
  readonly type: string | undefined;
  readonly issuer: unknown;
}

function tryDecode(token: string): ClaimedToken | undefined {
  try {
    const { alg, typ } = decodeProtectedHeader(token);
    if (alg === undefined) return undefined;
    return { algorithm: alg, type: typ?.toLowerCase(), issuer: decodeJwt(token).iss };
  } catch {
    return undefined; // not a JWT; jose's message would quote what the agent sent
  }
}

function faultOf(error: unknown): TokenFault {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWKSNoMatchingKey) return 'unknown-key';
  // Trying them all would let whoever may knock make us verify a hundred times a token.
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'ambiguous-key';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'bad-signature';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'wrong-audience';
    return error.claim === 'nbf' ? 'not-yet-valid' : 'bad-claims';
  }
  return 'malformed';
}

function toPrincipal(
  provider: ProviderKeys,
  payload: JWTPayload,
): Extract<Principal, { kind: 'token' }> | undefined {
  const { claims } = provider;
  const user = claimAt(payload, claims.user);
  const groups = claimAt(payload, claims.groups) ?? [];
  const actsFor = claims.onBehalfOf === undefined ? undefined : claimAt(payload, claims.onBehalfOf);
  if (!isName(user) || payload.exp === undefined) return undefined;
  if (!Array.isArray(groups) || groups.length > maxGroups || !groups.every(isName))
    return undefined;
  if (actsFor !== undefined && !isName(actsFor)) return undefined;
  return {
    kind: 'token',
    provider: provider.name,
    issuer: provider.issuer,
    user,
    groups,
    ...(actsFor === undefined ? {} : { onBehalfOf: actsFor }),
    expiresAt: payload.exp,
  };
}

/** Follows a dotted path through the claims' own properties. */
function claimAt(payload: JWTPayload, path: string): unknown {
  let value: unknown = payload;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name))
      return undefined;
    value = Reflect.get(value, name);
  }
  return value;
}

/**
 * Names end up in records and on terminals: of bounded length, and without control characters. Lone surrogates would
 * all be written as the same U+FFFD, so that two users could share one name in the record.
 */
function isName(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value !== '' &&
    value.length <= maxNameLength &&
    !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(value)
  );
}
