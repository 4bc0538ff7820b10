/**
 * A lock between processes of one machine.
 *
 * - Held by listening on an abstract unix socket: the kernel frees it when its holder dies, however it dies.
 * - Not fair, and not shared between network namespaces: it saves work, correctness rests on atomic renames.
 */
import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

function tryListen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(path, () => resolve(server));
  });
}

/**
 * Runs `body` while no other process runs one under the same name.
 * @param onWait called once if another process holds the lock.
 */
export async function withLock<T>(name: string, body: () => Promise<T>, onWait?: () => void): Promise<T> {
  const path = `\0berth-${createHash('sha256').update(name).digest('hex').slice(0, 40)}`;
  let server = await tryListen(path);
  if (server === undefined) onWait?.();
  while (server === undefined) {
    await sleep(500);
    server = await tryListen(path);
  }
  const held = server;
  try {
    return await body();
  } finally {
    await new Promise<void>((resolve, reject) => {
      held.close((error) => (error === undefined ? resolve() : reject(error)));
    });
  }
}
