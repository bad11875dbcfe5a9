import { parentPort, type MessagePort } from 'node:worker_threads';
import { loadModule } from 'libpg-query';
import { compileOnce, watchGrowth } from '../../runtime/parser-worker.ts';
import { Shaper } from './shape.ts';
import type { FromShaper } from './shape-thread.ts';

/** Reads texts with PostgreSQL's own grammar, which hostile ones can kill: therefore in a thread of its own. */
function serve(port: MessagePort): void {
  const shaper = new Shaper();
  const isSpent = watchGrowth();
  const say = (message: FromShaper): void => port.postMessage(message);
  port.on('message', (texts: readonly string[]) => {
    const shapes = texts.map((text) => shaper.shapeOf(text));
    say({ type: 'shapes', shapes, spent: isSpent() });
  });
  say({ type: 'ready' });
}

const port = parentPort;
compileOnce();
if (port) void loadModule().then(() => serve(port)); // what it throws ends the thread, which the other side sees
