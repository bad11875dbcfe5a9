import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 compile WebAssembly once, in this process, from now on. It would compile what runs often once more, for speed:
 * PostgreSQL's parser has a function that takes it 550 MB for a moment, and a pod past its limit.
 */
export function compileOnce(): void {
  for (const flag of ['--no-wasm-tier-up', '--no-wasm-dynamic-tiering']) setFlagsFromString(flag);
}
