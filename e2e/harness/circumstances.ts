/** Where and of what something was measured. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';

export interface Circumstances {
  readonly commit: string;
  readonly time: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly memoryGb: number };
  readonly node: string;
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
}

/** Those of now. @throws Error outside of a repository */
export function circumstances(): Circumstances {
  return {
    commit: `${git('rev-parse', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ' with changes'}`,
    time: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGb: Math.round(totalmem() / 2 ** 30),
    },
    node: process.version,
  };
}
