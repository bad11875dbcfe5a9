import { get } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
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

const inspectorAddress = '127.0.0.1:9229';
const portTimeoutMs = 120_000; // other tests on this machine may measure as well

/**
 * Returns the bytes in use on a Node process's heap and in its buffers after a full collection. The inspector, which
 * opens on SIGUSR1, can ask for that from outside; it is closed again.
 * @throws when another process keeps the inspector's port, which is the same for all.
 */
export async function heapBytesOf(pid: number): Promise<number> {
  const socket = await inspect(pid);
  try {
    for (let round = 0; round < 3; round += 1) await call(socket, 'HeapProfiler.collectGarbage');
    const heap = (await call(socket, 'Runtime.getHeapUsage')) as {
      usedSize: number;
      backingStorageSize: number;
    };
    return heap.usedSize + heap.backingStorageSize;
  } finally {
    const closed = new Promise((resolve) => {
      socket.addEventListener('close', resolve);
    });
    const close = "process.getBuiltinModule('node:inspector').close()";
    await call(socket, 'Runtime.evaluate', { expression: `setImmediate(() => ${close}); 0` });
    await closed;
  }
}

/** Connects to the inspector of the very process. */
async function inspect(pid: number): Promise<WebSocket> {
  let found = 0;
  const mine = async (): Promise<WebSocket | undefined> => {
    process.kill(pid, 'SIGUSR1');
    const url = await inspectorUrl();
    if (url === undefined) return undefined;
    const socket = new WebSocket(url);
    const opened = await new Promise<boolean>((resolve) => {
      socket.addEventListener('open', () => resolve(true));
      socket.addEventListener('error', () => resolve(false)); // it is being closed
    });
    if (!opened) return undefined;
    const evaluated = (await call(socket, 'Runtime.evaluate', { expression: 'process.pid' }).catch(
      () => undefined, // closed meanwhile, by whoever measured with it
    )) as { result: { value: number } } | undefined;
    found = evaluated?.result.value ?? found;
    if (evaluated?.result.value === pid) return socket;
    socket.close();
    await delay(250);
    return undefined;
  };
  try {
    return await until('the inspector listens', mine, portTimeoutMs);
  } catch (cause) {
    throw new Error(
      `process ${found} listens on ${inspectorAddress}, so ${pid} cannot be measured`,
      { cause },
    );
  }
}

let calls = 0;

/** Calls a method of the Chrome DevTools Protocol, whose answers differ with the method. */
function call(socket: WebSocket, method: string, params: object = {}): Promise<unknown> {
  const id = (calls += 1);
  const answer = new Promise<unknown>((resolve, reject) => {
    const gone = (): void => reject(new Error('the inspector was closed'));
    const take = ({ data }: MessageEvent): void => {
      const message = JSON.parse(String(data)) as { id?: number; result?: unknown };
      if (message.id !== id) return;
      socket.removeEventListener('message', take);
      socket.removeEventListener('close', gone);
      resolve(message.result);
    };
    socket.addEventListener('message', take);
    socket.addEventListener('close', gone);
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
