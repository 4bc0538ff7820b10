/** Once before the integration tests: what they start is in the cache, and its making was visible. */
import { resolveAll, resolveEtcdTools, resolveMultus, settleAll } from './assets.ts';
import { terminalProgress } from './progress.ts';

/** Called by vitest. */
export async function setup(): Promise<void> {
  const progress = terminalProgress();
  await settleAll([resolveAll({ progress }), resolveEtcdTools({ progress }), resolveMultus({ progress })]);
}
