/** What a shell needs to look into a running quickstart. */
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CniAssets } from '../controlplane/assets.ts';
import type { ControlPlane } from '../controlplane/controlplane.ts';
import { cnitoolEnv } from './cni.ts';
import type { Places } from './places.ts';

/** A word for sh. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Writes env.sh: what a shell needs for kubectl, and for cnitool on node-1. */
export async function writeShellEnv(
  places: Places,
  controlPlane: ControlPlane,
  cni: CniAssets,
): Promise<void> {
  const { CNI_PATH, NETCONFPATH } = cnitoolEnv(places, cni, 'node-1');
  const directories = [dirname(controlPlane.kubectlPath), dirname(cni.cnitool)].map(quoted).join(':');
  const lines = [
    "# Berth's quickstart. Source it: it is for this shell only.",
    `export KUBECONFIG=${quoted(controlPlane.kubeconfig)}`,
    `export PATH=${directories}:"$PATH"`,
    '# For cnitool on node-1.',
    `export CNI_PATH=${quoted(CNI_PATH)}`,
    `export NETCONFPATH=${quoted(NETCONFPATH)}`,
  ];
  await writeFile(places.envFile, `${lines.join('\n')}\n`);
}
