/** What kubelets change on the whole machine, to put it back. */
import { readFile, writeFile } from 'node:fs/promises';

/** The kubelet sets these when it starts (`--protect-kernel-defaults=false`); no namespace contains them. */
const CHANGED_BY_KUBELET = ['vm.overcommit_memory', 'kernel.panic', 'kernel.panic_on_oops'] as const;

/** Values by name. */
export type Sysctls = Readonly<Record<string, string>>;

function path(name: string): string {
  return `/proc/sys/${name.replaceAll('.', '/')}`;
}

/** The values as they are now. */
export async function readSysctls(): Promise<Sysctls> {
  const entries = CHANGED_BY_KUBELET.map(async (name) => [name, (await readFile(path(name), 'utf8')).trim()]);
  return Object.fromEntries(await Promise.all(entries)) as Sysctls;
}

/** Puts values back; writes only what differs. @returns the names that were written */
export async function restoreSysctls(wanted: Sysctls): Promise<string[]> {
  const now = await readSysctls();
  const differing = Object.entries(wanted).filter(([name, value]) => now[name] !== value);
  for (const [name, value] of differing) await writeFile(path(name), `${value}\n`);
  return differing.map(([name]) => name);
}
