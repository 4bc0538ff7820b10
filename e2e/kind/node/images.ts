/** The images that a cluster's own pods run, as kubeadm names them: one program each, and what it needs. */
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run } from '../../controlplane/run.ts';
import type { Docker } from '../docker.ts';
import type { NodePrograms } from '../programs.ts';

/** Keeps a pod's namespaces alive and collects its orphaned processes, as the original does. */
const PAUSE = `
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
  struct sigaction end = {.sa_handler = down}, child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  sigaction(SIGINT, &end, 0);
  sigaction(SIGTERM, &end, 0);
  sigaction(SIGCHLD, &child, 0);
  for (;;) pause();
}
`;

/**
 * For programs in Go on a machine that has memory to spare, but not time: they collect garbage when the heap is five times
 * what was alive, not twice.
 */
export const LAZY_GARBAGE: Readonly<Record<string, string>> = { GOGC: '400' };

/** An image's tree, to be imported. */
export interface ImageTree {
  /** An empty directory. */
  readonly root: string;
  /** `/path/in/the/image` by file here. */
  readonly files: Readonly<Record<string, string>>;
  /** The image's ENTRYPOINT. */
  readonly entrypoint: readonly string[];
  /** The image's ENV, beside PATH. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Makes an image of one layer. */
export async function importImage(docker: Docker, image: string, tree: ImageTree): Promise<void> {
  const { root, files, entrypoint, environment = {} } = tree;
  for (const directory of ['etc', 'tmp']) await mkdir(join(root, directory), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/sbin/nologin\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');
  for (const [path, source] of Object.entries(files)) {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(source, target);
  }
  const archive = `${root}.tar`;
  await run('tar', ['--directory', root, '--owner=0', '--group=0', '--create', '--file', archive, '.']);
  const variables = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...environment };
  const changes = [
    ...Object.entries(variables).map(([name, value]) => `ENV ${name}=${value}`),
    `ENTRYPOINT ${JSON.stringify(entrypoint)}`,
  ].flatMap((change) => ['--change', change]);
  await docker.run(['import', ...changes, archive, image]);
}

/** nft with the libraries that it is linked to, by their places in the root that has them. */
async function nftFiles(rootfs: string): Promise<Record<string, string>> {
  const listed = await run('chroot', [rootfs, 'ldd', '/usr/sbin/nft']);
  const libraries = [...listed.matchAll(/(\/\S+)/g)].map((match) => match[1] ?? '');
  const paths = ['/usr/sbin/nft', ...libraries];
  // A library's directory may be a link in the root; the image has a plain directory instead.
  return Object.fromEntries(paths.map((path) => [path, join(rootfs, path)]));
}

async function pause(directory: string): Promise<string> {
  const source = join(directory, 'pause.c');
  await writeFile(source, PAUSE);
  const program = join(directory, 'pause.bin');
  await run('gcc', ['-Os', '-s', '-static', '-o', program, source]);
  return program;
}

/** What kubeadm wants, by the last part of its name: `registry.k8s.io/coredns/coredns:v1.13.1` by `coredns`. */
export async function wantedImages(kubeadm: string, version: string): Promise<ReadonlyMap<string, string>> {
  const listed = await run(kubeadm, ['config', 'images', 'list', `--kubernetes-version=v${version}`]);
  const images = listed.trim().split('\n');
  return new Map(images.map((image) => [basename(image).replace(/:.*/, ''), image]));
}

/**
 * Makes all that kubeadm wants.
 * @param directory an empty one to work in
 * @throws Error if kubeadm wants one that is not known here
 */
export async function makeImages(
  docker: Docker,
  wanted: ReadonlyMap<string, string>,
  programs: NodePrograms,
  { directory, rootfs }: { readonly directory: string; readonly rootfs: string },
): Promise<void> {
  const single = (path: string): Omit<ImageTree, 'root'> => {
    const inside = `/usr/local/bin/${basename(path)}`;
    return { files: { [inside]: path }, entrypoint: [inside] };
  };
  const proxy = single(join(programs.node, 'kube-proxy'));
  const known: Readonly<Record<string, Omit<ImageTree, 'root'>>> = {
    'kube-apiserver': single(programs.controlPlane.kubeApiserver),
    'kube-controller-manager': single(join(programs.node, 'kube-controller-manager')),
    'kube-scheduler': single(join(programs.node, 'kube-scheduler')),
    'kube-proxy': { ...proxy, files: { ...proxy.files, ...(await nftFiles(rootfs)) } },
    // kubeadm's manifest names the program, so there must be no other entry point before it.
    etcd: { ...single(programs.controlPlane.etcd), entrypoint: [] },
    coredns: { files: { '/coredns': join(programs.coredns, 'coredns') }, entrypoint: ['/coredns'] },
    pause: { files: { '/pause': await pause(directory) }, entrypoint: ['/pause'] },
  };
  for (const [name, image] of wanted) {
    const tree = known[name];
    if (tree === undefined) throw new Error(`kubeadm wants the image ${image}, which is not known here`);
    await importImage(docker, image, { root: join(directory, name), ...tree, environment: LAZY_GARBAGE });
  }
}
