/** The images of what runs in the cluster besides the cluster's own: Multus, and the pods of the suite. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../controlplane/run.ts';
import { MULTUS_VERSION } from '../controlplane/versions.ts';
import type { Docker } from './docker.ts';
import { importImage } from './node/images.ts';
import { NAME } from './places.ts';
import type { ClusterPrograms } from './programs.ts';

/** What the suite's pods run: busybox. */
export const POD_IMAGE: string = `${NAME}/busybox:1`;
/** Multus' entry point and thin plugin. */
export const MULTUS_IMAGE: string = `${NAME}/multus:v${MULTUS_VERSION}`;

/** Makes both. */
export async function makeTestImages(docker: Docker, programs: ClusterPrograms): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), `${NAME}-images-`));
  try {
    const busybox = (await run('sh', ['-c', 'command -v busybox'])).trim();
    await importImage(docker, POD_IMAGE, {
      root: join(directory, 'busybox'),
      // The shell is for commands in pods; `busybox sh` is the same program.
      files: { '/bin/busybox': busybox, '/bin/sh': busybox },
      entrypoint: ['/bin/busybox'],
    });
    await importImage(docker, MULTUS_IMAGE, {
      root: join(directory, 'multus'),
      files: {
        '/thin_entrypoint': programs.multusEntrypoint,
        '/usr/src/multus-cni/bin/multus': programs.multus,
      },
      entrypoint: ['/thin_entrypoint'],
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
