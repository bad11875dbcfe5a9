import type { PayloadType } from '../record/kinds.ts';
import { formatAt, tryParse } from './answer.ts';
import type { DecodeText } from './encoding.ts';
import {
  FrontendTag,
  parseDescribe,
  parseExecute,
  type BindMessage,
  type FunctionCallMessage,
} from './frontend.ts';
import { formatValue } from './values.ts';

/** What a request asks for, where it is not the text of a statement before it. */
export function requestText(
  type: PayloadType | undefined,
  content: Buffer,
  decode: DecodeText,
): string | undefined {
  switch (type) {
    case 'postgres.query':
      return decode(content);
    case 'postgres.function-call': {
      const oid = content.length >= 4 ? content.readUInt32BE() : 0;
      return `fast-path call of the function with OID ${oid}`;
    }
    case 'postgres.execute': {
      const { portal = '', maxRows = 0 } = tryParse(() => parseExecute(content)) ?? {};
      return `fetch ${maxRows === 0 ? 'all' : maxRows} from the cursor "${portal}"`;
    }
    default:
      return undefined;
  }
}

/** Whether a request's text is SQL, rather than a sentence about a message that has none; no SQL reads like these. */
export function isSql(text: string): boolean {
  return !/^(fast-path call of the function with|fetch (all|-?\d+) from the cursor ")/.test(text);
}

/** What a Describe or a Close says whose name no other record gave. */
export function mentionText(message: Buffer, decode: DecodeText): string {
  const named = tryParse(() => parseDescribe(message.subarray(5)));
  if (!named) return 'a name that was not kept';
  const verb = message[0] === FrontendTag.Close ? 'closes' : 'asks about';
  return `${verb} the ${named.kind} "${decode(Buffer.from(named.name, 'latin1'))}"`;
}

/** Texts of what a fast-path call was given; null is NULL. */
export function argumentTexts(call: FunctionCallMessage, decode: DecodeText): (string | null)[] {
  return call.arguments.map((value, index) =>
    value === undefined
      ? null
      : formatValue(0, formatAt(call.argumentFormats, index), value, decode),
  );
}

/** Texts of what a Bind has bound; null is NULL. */
export function parameterTexts(
  bind: BindMessage,
  types: readonly number[] | undefined,
  decode: DecodeText,
): (string | null)[] {
  return bind.parameters.map((value, index) =>
    value === undefined
      ? null
      : formatValue(types?.[index] ?? 0, formatAt(bind.parameterFormats, index), value, decode),
  );
}
