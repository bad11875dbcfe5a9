import type { Refusal } from '#core/operation.ts';
import type { Item } from './items.ts';

/** Turns what could not be recorded into its refusal. An Execute counts with its Bind, which may have come earlier. */
export function unlessRecorded(item: Item, refusal: Refusal): Item {
  if (item.kind === 'more' || isRecorded(item)) return item; // the rest of what is refused is not sent
  dropUnsent([item]);
  const simple = item.kind === 'query' || item.kind === 'function-call';
  return { kind: 'refused', simple, refusal };
}

function isRecorded(item: Item): boolean {
  if ('record' in item && item.record && item.record.seq === undefined) return false;
  return !('permit' in item) || item.permit.ref.seq !== undefined;
}

/** Ends the operations of items that will not go up. */
export function dropUnsent(items: readonly Item[]): void {
  for (const item of items) {
    switch (item.kind) {
      case 'query':
      case 'function-call':
      case 'parse':
      case 'bind':
        item.permit.finish({ status: 'not-executed' });
        break;
      case 'execute':
        if (item.cursor) item.permit.finish({ status: 'not-executed' });
        break;
      default:
        break; // of an operation that was dropped or forwarded before
    }
  }
}
