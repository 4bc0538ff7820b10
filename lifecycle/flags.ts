/** Flags that both programs have. */
import * as z from 'zod';
import type { Flag } from '../process/flags.ts';

export const namespaceFlag: Flag<string> = {
  schema: z.string().min(1),
  description: 'where Berth is installed',
  placeholder: 'name',
  env: 'POD_NAMESPACE',
  default: 'berth-system',
};

export const timeoutFlag: Flag<number> = {
  schema: z
    .string()
    .regex(/^[1-9]\d{0,5}$/, { error: 'give seconds' })
    .transform((text) => Number(text) * 1000),
  description: 'how long each step may take, in seconds',
  placeholder: 'seconds',
  default: '300',
};
