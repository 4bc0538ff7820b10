import { expect, test } from 'vitest';
import { KeyedLock } from './lock.ts';

function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

test('work of one key runs one after the other, in the order of arrival', async () => {
  const lock = new KeyedLock();
  const first = gate();
  const order: string[] = [];
  const all = [
    lock.run('a', async () => {
      await first.opened;
      order.push('1');
    }),
    lock.run('a', async () => void order.push('2')),
    lock.run('a', async () => void order.push('3')),
  ];
  await lock.run('b', async () => void order.push('other key'));
  first.open();
  await Promise.all(all);
  expect(order).toEqual(['other key', '1', '2', '3']);
});

test('work that fails passes the lock on and its error to its caller', async () => {
  const lock = new KeyedLock();
  const failing = lock.run('a', () => Promise.reject(new Error('no')));
  const next = lock.run('a', async () => 'yes');
  await expect(failing).rejects.toThrow('no');
  await expect(next).resolves.toBe('yes');
});

test('work that is asked for while earlier work ends still waits for what came before it', async () => {
  const lock = new KeyedLock();
  let running = 0;
  const work = async (): Promise<void> => {
    running += 1;
    expect(running).toBe(1);
    await Promise.resolve();
    running -= 1;
  };
  const chain = lock.run('a', work).then(() => lock.run('a', work));
  await Promise.all([chain, lock.run('a', work), lock.run('a', work)]);
});
