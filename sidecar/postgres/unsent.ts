import type { RecordRef, Refusal } from '#core/operation.ts';
import type { Item } from './items.ts';

/** Turns what may not go up for want of its record into its refusal. An Execute counts with its Bind, which may have come earlier. */
export function unlessCleared(
  item: Item,
  refusal: Refusal,
  isCleared: (record: RecordRef) => boolean,
): Item {
  if (item.kind === 'more') return item; // the rest of what is refused is not sent
  const named = !('record' in item) || !item.record || isCleared(item.record);
  if (named && (!('permit' in item) || isCleared(item.permit.ref))) return item;
  dropUnsent([item]);
  const simple = item.kind === 'query' || item.kind === 'function-call';
  const data = item.kind === 'copy-data' || item.kind === 'copy-end';
  return { kind: 'refused', simple, data, refusal };
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
