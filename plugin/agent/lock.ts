/** Mutual exclusion by key, in order of arrival. Holders of different keys never wait for each other. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** True if somebody holds the key: `run` would have to wait. */
  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }

  /** Runs `work` once everything that asked for `key` before has ended. Not re-entrant. */
  async run<R>(key: string, work: () => Promise<R>): Promise<R> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    try {
      await before;
      return await work();
    } finally {
      resolve();
      if (this.#tails.get(key) === promise) {
        this.#tails.delete(key);
      }
    }
  }
}
