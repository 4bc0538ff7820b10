/**
 * The node image that kind starts: kind's own where a registry can be reached, else one that is built here.
 *
 * A built one is cached in docker's data under a tag that names what it was made of.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { settleAll } from '../../controlplane/assets.ts';
import type { Progress, Step } from '../../controlplane/progress.ts';
import { RunError, run } from '../../controlplane/run.ts';
import {
  CONTAINERD_VERSION,
  COREDNS_VERSION,
  ETCD_VERSION,
  KIND_NODE_IMAGES,
  KIND_VERSION,
  KUBERNETES_VERSION,
} from '../../controlplane/versions.ts';
import { waitFor } from '../../harness/wait.ts';
import type { Docker } from '../docker.ts';
import { NAME } from '../places.ts';
import { type ClusterPrograms, type NodePrograms, resolveNodePrograms } from '../programs.ts';
import { makeImages, wantedImages } from './images.ts';
import { makeRootfs, resolveRoot } from './rootfs.ts';

const REPOSITORY = `${NAME}/node`;

/** The name of the image that this builder makes: another one if anything that goes into it changes. */
async function builtName(): Promise<string> {
  const versions = [KUBERNETES_VERSION, KIND_VERSION, CONTAINERD_VERSION, COREDNS_VERSION, ETCD_VERSION];
  const hash = createHash('sha256').update(versions.join(' '));
  for (const name of (await readdir(import.meta.dirname)).toSorted()) {
    hash.update(await readFile(join(import.meta.dirname, name)));
  }
  return `${REPOSITORY}:v${KUBERNETES_VERSION}-${hash.digest('hex').slice(0, 12)}`;
}

async function withDirectory<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), `${NAME}-node-`));
  try {
    return await body(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The root as an image. An import can not set the signal that systemd ends on; a Dockerfile can. */
async function importRootfs(docker: Docker, root: string, directory: string, image: string): Promise<void> {
  const archive = join(directory, 'root.tar');
  const left = ['proc', 'sys', 'dev', 'run'].map((name) => `--exclude=./${name}/*`);
  await run('tar', ['--directory', root, ...left, '--create', '--file', archive, '.']);
  const plain = `${image}-root`;
  await docker.run(['import', archive, plain]);
  await rm(archive);
  const context = join(directory, 'context');
  await mkdir(context);
  const lines = [
    `FROM ${plain}`,
    'ENV container=docker',
    'STOPSIGNAL SIGRTMIN+3',
    'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
  ];
  await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  await docker.run(['build', '--network=none', '--tag', image, context]);
}

/** Puts images into the node's container runtime, as kind's own build does, and keeps the result. */
async function bake(
  docker: Docker,
  names: { readonly base: string; readonly image: string },
  archive: string,
  step: Step,
): Promise<void> {
  const container = `${NAME}-bake`;
  await docker.remove(container);
  const flags = ['--pull=never', '--detach', '--network=none', '--privileged', '--entrypoint=sleep'];
  await docker.run(['run', ...flags, `--name=${container}`, names.base, 'infinity']);
  try {
    await docker.run(['exec', '--detach', container, 'sh', '-c', 'containerd >/tmp/containerd.log 2>&1']);
    await waitFor('containerd answers', () => docker.shell(container, 'ctr version').then(() => true), {
      everyMs: 250,
    });
    step.update('importing the images into containerd');
    await docker.run(['cp', archive, `${container}:/images.tar`]);
    const flags = '--label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests';
    await docker.shell(container, `ctr --namespace=k8s.io images import ${flags} /images.tar`);
    await docker.shell(container, 'kill $(pidof containerd); while pidof containerd; do sleep 0.1; done');
    await docker.shell(container, 'rm -rf /images.tar /tmp/* /run/*');
    step.update('writing the image');
    const entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]';
    await docker.run(['commit', '--change', entrypoint, container, names.image]);
  } finally {
    await docker.remove(container);
  }
}

/** Removes what earlier versions of this builder have left in the cache. */
async function removeOld(docker: Docker, keep: string): Promise<void> {
  const listed = await docker.run(['images', '--format={{.Repository}}:{{.Tag}}', REPOSITORY]);
  const old = listed.split('\n').filter((name) => name !== '' && !name.startsWith(keep));
  if (old.length > 0) await docker.run(['rmi', ...old]);
}

async function build(
  docker: Docker,
  image: string,
  programs: { readonly cluster: ClusterPrograms; readonly node: NodePrograms; readonly root: string },
  progress: Progress,
): Promise<void> {
  const step = progress.step(`node image ${image}`);
  try {
    const kubeadm = join(programs.node.node, 'kubeadm');
    const wanted = await wantedImages(kubeadm, KUBERNETES_VERSION);
    await withDirectory(async (directory) => {
      step.update('Debian, kind’s files and the programs');
      const root = join(directory, 'root');
      await makeRootfs({
        root,
        archive: programs.root,
        baseFiles: join(programs.cluster.kind, 'base-files'),
        programs: programs.node,
        plugins: programs.cluster.plugins,
        pauseImage: wanted.get('pause') ?? 'registry.k8s.io/pause:3.10',
      });
      step.update('the images of the cluster’s own pods');
      await makeImages(docker, wanted, programs.node, { directory, rootfs: root });
      const archive = join(directory, 'images.tar');
      await docker.run(['save', '--output', archive, ...wanted.values()]);
      step.update('the root as an image');
      const base = `${image}-base`;
      await importRootfs(docker, root, directory, base);
      await bake(docker, { base, image }, archive, step);
      await docker.run(['rmi', ...wanted.values()]);
      await removeOld(docker, image);
    });
    step.done();
  } catch (error) {
    step.failed(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error));
    throw error;
  }
}

/** The published image that E2E_NODE_IMAGE or E2E_KUBERNETES names. @throws Error for a version without one */
function namedImage(): string | undefined {
  const image = process.env['E2E_NODE_IMAGE'];
  if (image !== undefined && image !== '') return image;
  const version = process.env['E2E_KUBERNETES'];
  if (version === undefined || version === '') return undefined;
  const known = KIND_NODE_IMAGES[version];
  if (known !== undefined) return known;
  const versions = Object.keys(KIND_NODE_IMAGES).join(', ');
  throw new Error(
    `E2E_KUBERNETES=${version}: no node image is known; use one of ${versions}, or E2E_NODE_IMAGE`,
  );
}

async function pull(docker: Docker, image: string, progress: Progress): Promise<void> {
  if (await docker.hasImage(image)) return;
  const step = progress.step(`pulling ${image}`);
  try {
    await docker.run(['pull', image]);
    step.done();
  } catch (error) {
    step.failed(error instanceof Error ? (error.message.split('\n').at(-1) ?? '') : String(error));
    throw error;
  }
}

/** Whether a published image could be had. */
async function canPull(docker: Docker, image: string, progress: Progress): Promise<boolean> {
  // Our own daemon has no way out.
  if (!docker.foreign) return false;
  try {
    await pull(docker, image, progress);
    return true;
  } catch (error) {
    if (error instanceof RunError) return false;
    throw error;
  }
}

/**
 * The name of a node image that the daemon has: the one that E2E_NODE_IMAGE or E2E_KUBERNETES (such as 1.34) names, else
 * a published one of the version that the other tests use, else one that is built.
 * @throws Error, AssetsError, RunError where it can neither be pulled nor built
 */
export async function nodeImage(
  docker: Docker,
  cluster: ClusterPrograms,
  progress: Progress,
): Promise<string> {
  const named = namedImage();
  if (named !== undefined) {
    await pull(docker, named, progress);
    return named;
  }
  const image = await builtName();
  if (await docker.hasImage(image)) return image;
  const published = KIND_NODE_IMAGES[KUBERNETES_VERSION.replace(/\.\d+$/, '')];
  if (published !== undefined && (await canPull(docker, published, progress))) return published;
  // At once: packages come from the network while programs are compiled.
  const [node, root] = [resolveNodePrograms({ progress }), resolveRoot(progress)];
  await settleAll([node, root]);
  await build(docker, image, { cluster, node: await node, root: await root }, progress);
  return image;
}
