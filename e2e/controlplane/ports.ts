/** Free TCP ports on 127.0.0.1. */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';

const LOWEST = 20_000;

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/**
 * `count` different ports that nobody listened on a moment ago. They lie below the kernel's ephemeral range, so
 * that no outgoing connection takes one while a server that owns it is being restarted. Somebody else may still
 * take one: callers try again when the bind fails.
 */
export async function freePorts(count: number): Promise<number[]> {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  const firstEphemeral = Number(range.trim().split(/\s+/)[0]);
  const end = firstEphemeral > LOWEST + 1_000 ? firstEphemeral : 65_536;
  const ports = new Set<number>();
  for (let tries = 0; ports.size < count; tries += 1) {
    if (tries > 1_000) throw new Error(`no free TCP port between ${LOWEST} and ${end} after ${tries} tries`);
    const port = randomInt(LOWEST, end);
    if (!ports.has(port) && (await canListen(port))) ports.add(port);
  }
  return [...ports];
}
