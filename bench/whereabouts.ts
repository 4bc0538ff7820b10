/**
 * Whereabouts, as its own documentation installs it: its binary, its kinds, and a kubeconfig.
 *
 * In its favour: the cluster administrator's kubeconfig, so that neither roles nor flow control concern it; a range that is
 * empty before each round, because it writes all of a range's allocations with each of them; no log. Everything else is
 * its default: leader election (lease 1.5 s, deadline 1 s, retry 0.5 s) and the check of overlapping ranges, without
 * which two ranges of one network may give the same address.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveBuilt } from '../e2e/controlplane/assets.ts';
import type { ControlPlane } from '../e2e/controlplane/controlplane.ts';
import { buildWhereabouts } from '../e2e/controlplane/gobuild.ts';
import { WHEREABOUTS_VERSION } from '../e2e/controlplane/versions.ts';
import type { TestPod } from '../e2e/harness/cluster.ts';
import { type CniCall, podArgs } from '../e2e/harness/cni.ts';

const NAMESPACE = 'kube-system';
const KINDS = ['ippools', 'overlappingrangeipreservations'] as const;
const GROUP = 'whereabouts.cni.cncf.io';

/** The directory of its binary and kinds, which is built with Go the first time, for minutes. @throws AssetsError */
export function resolveWhereabouts(): Promise<string> {
  return resolveBuilt({
    name: `Whereabouts ${WHEREABOUTS_VERSION}`,
    cacheName: `whereabouts-${WHEREABOUTS_VERSION}`,
    binaries: ['whereabouts'],
    variable: 'WHEREABOUTS_BIN',
    build: buildWhereabouts,
  });
}

export class Whereabouts {
  readonly binary: string;
  readonly #controlPlane: ControlPlane;
  /** It insists on one, also where the network configuration says everything. */
  readonly #flatFile: string;

  private constructor(directory: string, controlPlane: ControlPlane) {
    this.binary = join(directory, 'whereabouts');
    this.#controlPlane = controlPlane;
    this.#flatFile = join(controlPlane.directory, 'whereabouts.conf');
    writeFileSync(this.#flatFile, '{}');
  }

  /** Applies its kinds. */
  static async install(directory: string, controlPlane: ControlPlane): Promise<Whereabouts> {
    const files = KINDS.flatMap((kind) => ['-f', join(directory, 'crds', `${GROUP}_${kind}.yaml`)]);
    await controlPlane.kubectl(['apply', ...files]);
    await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', ...files]);
    return new Whereabouts(directory, controlPlane);
  }

  /** Calls of attachments that nobody else uses. @param first number of the first of them */
  calls(command: 'ADD' | 'DEL', pods: readonly TestPod[], first: number, operations: number): CniCall[] {
    const { kubeconfig } = this.#controlPlane;
    const config = {
      cniVersion: '1.0.0',
      name: 'whereabouts',
      type: 'bridge',
      ipam: {
        type: 'whereabouts',
        range: '10.64.0.0/16',
        kubernetes: { kubeconfig },
        configuration_path: this.#flatFile,
        log_level: 'panic',
      },
    };
    return Array.from({ length: operations }, (_, i) => {
      const pod = pods[i % pods.length];
      if (pod === undefined) throw new Error('no pods');
      const index = first + i;
      return { command, containerID: `w${index}`, ifname: `e${index}`, args: podArgs(pod), config };
    });
  }

  /** Addresses that its objects say are in use. */
  async inUse(): Promise<{ allocations: number; reservations: number }> {
    const list = async (kind: string): Promise<{ spec: { allocations?: object } }[]> => {
      const text = await this.#controlPlane.kubectl([
        'get',
        `${kind}.${GROUP}`,
        '-n',
        NAMESPACE,
        '-o',
        'json',
      ]);
      // Of its own schema, whose files are applied above.
      return (JSON.parse(text) as { items: { spec: { allocations?: object } }[] }).items;
    };
    const pools = await list('ippools');
    const allocations = pools.reduce((sum, { spec }) => sum + Object.keys(spec.allocations ?? {}).length, 0);
    return { allocations, reservations: (await list('overlappingrangeipreservations')).length };
  }
}
