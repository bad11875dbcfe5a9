import { ChaperoneError } from '#core/errors.ts';
import { FrontendTag } from '#core/postgres/frontend.ts';

/** Messages that pass in pieces where they are too long to be held. */
export const mayBeLong: ReadonlySet<number> = new Set([
  FrontendTag.Query,
  FrontendTag.Parse,
  FrontendTag.Bind,
  FrontendTag.FunctionCall,
]);

/** Messages that are judged. */
export const judgedTags: ReadonlySet<number> = new Set([
  FrontendTag.Query,
  FrontendTag.FunctionCall,
  FrontendTag.Parse,
  FrontendTag.Bind,
]);

/** Messages that are answered with a ReadyForQuery of their own. */
export const simpleTags: ReadonlySet<number> = new Set([
  FrontendTag.Query,
  FrontendTag.FunctionCall,
]);

/** Says that an agent has no such message, or not one that long. */
export function impossible(tag: number): ChaperoneError {
  return new ChaperoneError('protocol-violation', `the agent sent a message of type ${tag}`);
}

/** A portal's name that a record could not tell. */
export const unnamable = new ChaperoneError(
  'unsupported',
  'names of portals have to be ASCII: what others mean changes with client_encoding',
);
