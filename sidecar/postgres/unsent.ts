import type { Stop } from '../ready.ts';
import type { Item } from './items.ts';

/** Turns what could not be recorded into its refusal. */
export function unrecorded(item: Item, { refusal }: Stop): Item {
  if (item.kind === 'copy-data') return { kind: 'refused', simple: false, refusal };
  if (!('permit' in item) || item.permit?.ref.seq !== undefined) return item;
  if (item.kind === 'describe-portal') return item;
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
