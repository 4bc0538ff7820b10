/** A program for main.test.ts: what its body does is chosen by a flag. */
import * as z from 'zod';
import { logLevelFlag } from '../flags.ts';
import { runProgram } from '../main.ts';

const flags = {
  does: { schema: z.enum(['return', 'throw', 'reject', 'wait', 'hang']), description: 'what the body does' },
  'log-level': logLevelFlag,
};

await runProgram(
  { name: 'berth-test', version: '0.0.0', summary: 'does what it is told', flags },
  async ({ values, signal, log }) => {
    const forever = setInterval(() => undefined, 60_000);
    log.info({}, 'running');
    if (values.does === 'throw') {
      throw new Error('thrown by the body');
    }
    if (values.does === 'reject') {
      // Held in a variable and never handled: that is the point.
      const alone = Promise.reject(new Error('left alone'));
      log.debug({ alone }, 'rejected');
    }
    if (values.does !== 'return') {
      await new Promise<void>((resolve) => {
        if (values.does === 'wait') {
          signal.addEventListener('abort', () => resolve());
        }
      });
      clearInterval(forever);
    }
  },
);
