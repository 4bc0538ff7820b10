/** The programs in node_modules/.bin, and the environment that they run in. */
import { delimiter, join } from 'node:path';

/** The repository's root. */
export const ROOT: string = join(import.meta.dirname, '..');

const BIN: string = join(ROOT, 'node_modules', '.bin');

/** Path of an installed program. */
export function tool(name: string): string {
  return join(BIN, name);
}

/** This process's environment, with the node that npm placed before any other. */
export function toolEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { ...process.env, ...extra, PATH: `${BIN}${delimiter}${process.env['PATH'] ?? ''}` };
}
