import { parentPort, type MessagePort } from 'node:worker_threads';
import { loadModule } from 'libpg-query';
import { compileOnce } from '../../runtime/compile-once.ts';
import { Shaper } from './shape.ts';
import type { FromShaper } from './shape-thread.ts';

/** What the module's memory, whose 128 MB are there from the start, may grow by before it is thrown away. */
const maxGrowthBytes = 64 * 1024 * 1024;

/** Reads texts with PostgreSQL's own grammar, which hostile ones can kill: therefore in a thread of its own. */
function serve(port: MessagePort): void {
  const shaper = new Shaper();
  const { external: atFirst } = process.memoryUsage(); // of this thread alone, with the module's memory
  const say = (message: FromShaper): void => port.postMessage(message);
  port.on('message', (texts: readonly string[]) => {
    const shapes = texts.map((text) => shaper.shapeOf(text));
    const spent = process.memoryUsage().external - atFirst > maxGrowthBytes;
    say({ type: 'shapes', shapes, spent });
  });
  say({ type: 'ready' });
}

const port = parentPort;
compileOnce();
if (port) void loadModule().then(() => serve(port)); // what it throws ends the thread, which the other side sees
