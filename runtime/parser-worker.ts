import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 compile WebAssembly once, in this process, from now on. It would compile what runs often once more, for speed:
 * PostgreSQL's parser has a function that takes it 550 MB for a moment, and a pod past its limit.
 */
export function compileOnce(): void {
  for (const flag of ['--no-wasm-tier-up', '--no-wasm-dynamic-tiering']) setFlagsFromString(flag);
}

/** What the module's memory, whose 128 MB are there from the start, may grow by before it is thrown away. */
const maxGrowthBytes = 64 * 1024 * 1024;

/** Returns what says whether the memory of this thread's module has grown by too much since. */
export function watchGrowth(): () => boolean {
  const { external: atFirst } = process.memoryUsage(); // of this thread alone, with the module's memory
  return () => process.memoryUsage().external - atFirst > maxGrowthBytes;
}
