/** Once before the integration tests: what they start is in the cache, and its making was visible. */
import { resolveAll } from './assets.ts';

/** Called by vitest. */
export async function setup(): Promise<void> {
  await resolveAll();
}
