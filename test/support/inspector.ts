import { get } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { until } from './until.ts';

export function openFilesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Memory of a process in bytes, with its part of what it shares. */
export function pssOf(pid: number): number {
  const [, kilobytes = '0'] =
    /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

/**
 * Returns the bytes in use on a Node process's heap and in its buffers after a full collection. The inspector, which
 * opens on SIGUSR1, can ask for that from outside.
 * @throws when another process has the inspector's port, which is the same for all.
 */
export async function heapBytesOf(pid: number): Promise<number> {
  process.kill(pid, 'SIGUSR1');
  const socket = new WebSocket(await until('the inspector listens', () => inspectorUrl()));
  try {
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', reject);
    });
    const evaluated = (await call(socket, 'Runtime.evaluate', {
      expression: 'process.pid',
    })) as { result: { value: number } };
    const { value: found } = evaluated.result;
    if (found !== pid)
      throw new Error(
        `process ${found} listens on ${inspectorAddress}, so ${pid} cannot be measured`,
      );
    for (let round = 0; round < 3; round += 1) await call(socket, 'HeapProfiler.collectGarbage');
    const heap = (await call(socket, 'Runtime.getHeapUsage')) as {
      usedSize: number;
      backingStorageSize: number;
    };
    return heap.usedSize + heap.backingStorageSize;
  } finally {
    socket.close();
  }
}

const inspectorAddress = '127.0.0.1:9229';
let calls = 0;

/** Calls a method of the Chrome DevTools Protocol, whose answers differ with the method. */
function call(socket: WebSocket, method: string, params: object = {}): Promise<unknown> {
  const id = (calls += 1);
  const answer = new Promise<unknown>((resolve) => {
    const take = ({ data }: MessageEvent): void => {
      const message = JSON.parse(String(data)) as { id?: number; result?: unknown };
      if (message.id !== id) return;
      socket.removeEventListener('message', take);
      resolve(message.result);
    };
    socket.addEventListener('message', take);
  });
  socket.send(JSON.stringify({ id, method, params }));
  return answer;
}

async function inspectorUrl(): Promise<string | undefined> {
  return new Promise((resolve) => {
    get(`http://${inspectorAddress}/json/list`, { agent: false }, (response) => {
      let text = '';
      response.on('data', (piece: Buffer) => (text += piece.toString()));
      response.on('end', () =>
        resolve((JSON.parse(text) as { webSocketDebuggerUrl?: string }[])[0]?.webSocketDebuggerUrl),
      );
    }).on('error', () => resolve(undefined));
  });
}
