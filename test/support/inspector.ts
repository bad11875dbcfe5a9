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
 */
export async function heapBytesOf(pid: number): Promise<number> {
  process.kill(pid, 'SIGUSR1');
  const url = await until('the inspector listens', () => inspectorUrl());
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', reject);
  });
  let id = 0;
  const call = (method: string): Promise<Record<string, number>> => {
    const own = (id += 1);
    const answer = new Promise<Record<string, number>>((resolve) => {
      socket.addEventListener('message', ({ data }) => {
        const message = JSON.parse(String(data)) as {
          id?: number;
          result?: Record<string, number>;
        };
        if (message.id === own) resolve(message.result ?? {});
      });
    });
    socket.send(JSON.stringify({ id: own, method }));
    return answer;
  };
  for (let round = 0; round < 3; round += 1) await call('HeapProfiler.collectGarbage');
  const { usedSize = 0, backingStorageSize = 0 } = await call('Runtime.getHeapUsage');
  socket.close();
  return usedSize + backingStorageSize;
}

async function inspectorUrl(): Promise<string | undefined> {
  return new Promise((resolve) => {
    get('http://127.0.0.1:9229/json/list', { agent: false }, (response) => {
      let text = '';
      response.on('data', (piece: Buffer) => (text += piece.toString()));
      response.on('end', () =>
        resolve((JSON.parse(text) as { webSocketDebuggerUrl?: string }[])[0]?.webSocketDebuggerUrl),
      );
    }).on('error', () => resolve(undefined));
  });
}
