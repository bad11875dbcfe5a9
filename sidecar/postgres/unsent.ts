import type { Refusal } from '#core/operation.ts';
import type { Item } from './items.ts';

/**
 * Turns what could not be recorded into its refusal. An Execute counts with its Bind, which may have come earlier.
 * `failed`: the turn that the item came in could not be written.
 */
export function unlessRecorded(item: Item, refusal: Refusal, failed: boolean): Item {
  if (item.kind === 'copy-data' && failed) return { kind: 'refused', simple: false, refusal };
  if (!('permit' in item) || item.permit?.ref.seq !== undefined) return item;
  if (item.kind === 'describe-portal') return item;
  dropUnsent([item]);
  const simple = item.kind === 'query' || item.kind === 'function-call';
  return { kind: 'refused', simple, refusal };
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
