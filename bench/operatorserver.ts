/**
 * As much of an API server as the operator needs to read: lists in pages, and watches that tell what the benchmark
 * changes. Objects are made when they are asked for, with the fields and about the size that a real server gives them;
 * so what is measured is the operator's own work, not how fast a server can be filled.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FINALIZER_IN_USE } from '../crds/resources.ts';
import type { IPPool } from '../crds/types.ts';
import { formatAddress } from '../ipam/address.ts';
import { compilePool } from '../ipam/pool.ts';
import { namespaceOf, nodeName, PODS_OF_A_NODE, pod, podName, uid } from './operatorobjects.ts';

const NETWORK = 'default';
const MANAGED = [
  {
    manager: 'berth-agent',
    operation: 'Update',
    apiVersion: 'ipam.berth.dev/v1alpha1',
    time: '2026-01-01T00:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:spec': {} },
  },
];

/** What one kind has: its number of objects, and the one of an index. */
interface Kind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly count: () => number;
  readonly object: (index: number) => object;
}

export class OperatorServer {
  readonly #server: Server;
  readonly #watches = new Map<string, Set<ServerResponse>>();
  readonly #pool = compilePool('bench', { subnet: '10.0.0.0/14', network: NETWORK });
  readonly #kinds: ReadonlyMap<string, Kind>;
  #version = 1_000_000;
  /** The pool as it was written last. */
  pool: IPPool;
  /** Status writes so far. */
  writes = 0;

  private constructor(reservations: number) {
    this.pool = {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPPool',
      metadata: {
        name: 'bench',
        uid: uid(1, 1),
        generation: 1,
        resourceVersion: '1',
        finalizers: [FINALIZER_IN_USE],
      },
      spec: { network: NETWORK, subnet: '10.0.0.0/14', cooldown: '30s' },
    };
    const kinds: [string, Kind][] = [
      [
        'ippools',
        { apiVersion: 'ipam.berth.dev/v1alpha1', kind: 'IPPool', count: () => 1, object: () => this.pool },
      ],
      [
        'ipreservations',
        {
          apiVersion: 'ipam.berth.dev/v1alpha1',
          kind: 'IPReservation',
          count: () => reservations,
          object: (index) => this.reservation(index),
        },
      ],
      ['pods', { apiVersion: 'v1', kind: 'Pod', count: () => reservations, object: pod }],
      [
        'nodes',
        {
          apiVersion: 'v1',
          kind: 'Node',
          count: () => Math.ceil(reservations / PODS_OF_A_NODE),
          object: (index) => ({
            metadata: { name: nodeName(index), uid: uid(4, index), resourceVersion: '1' },
          }),
        },
      ],
    ];
    this.#kinds = new Map(kinds);
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  /** Serves so many reservations, each of a pod of its own, on a free port of this machine. */
  static async start(reservations: number): Promise<OperatorServer> {
    const server = new OperatorServer(reservations);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get url(): string {
    // It listens on a TCP port, so this is no path.
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const watches of this.#watches.values()) for (const watch of watches) watch.end();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The reservation of an index, as an agent made it. */
  reservation(index: number): object {
    const address = formatAddress({ family: 4, value: this.#pool.dynamic.at(BigInt(index)) });
    return {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: {
        name: `${NETWORK}.${address}`,
        uid: uid(3, index),
        resourceVersion: String(this.#version),
        generation: 1,
        creationTimestamp: '2026-01-01T00:00:00Z',
        managedFields: MANAGED,
      },
      spec: {
        network: NETWORK,
        address,
        pool: 'bench',
        state: 'Bound',
        owner: {
          kind: 'Pod',
          namespace: namespaceOf(index),
          name: podName(index),
          uid: uid(2, index),
          node: nodeName(Math.floor(index / PODS_OF_A_NODE)),
          containerID: `${uid(5, index)}${uid(6, index)}`.replaceAll('-', ''),
          ifname: 'eth0',
          cniNetwork: 'cluster-network',
        },
        since: '2026-01-01T00:00:00Z',
      },
    };
  }

  /** Tells the watch of reservations. */
  tell(type: 'ADDED' | 'DELETED', index: number): void {
    this.#version += 1;
    this.#send('ipreservations', { type, object: this.reservation(index) });
  }

  #send(plural: string, event: object): void {
    for (const watch of this.#watches.get(plural) ?? []) watch.write(`${JSON.stringify(event)}\n`);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x');
    const plural = /^\/(?:api\/v1|apis\/ipam\.berth\.dev\/v1alpha1)\/([a-z]+)/.exec(pathname)?.[1] ?? '';
    const kind = this.#kinds.get(plural);
    response.setHeader('Content-Type', 'application/json');
    if (request.method === 'PUT') {
      let body = '';
      for await (const chunk of request) body += chunk;
      // Written by the operator under test.
      this.pool = JSON.parse(body) as IPPool;
      this.#version += 1;
      this.pool.metadata.resourceVersion = String(this.#version);
      this.writes += 1;
      response.end(JSON.stringify(this.pool));
      this.#send('ippools', { type: 'MODIFIED', object: this.pool });
    } else if (kind === undefined || request.method !== 'GET') {
      response.statusCode = 404;
      response.end(JSON.stringify({ kind: 'Status', status: 'Failure', reason: 'NotFound', code: 404 }));
    } else if (searchParams.get('watch') !== null) {
      response.flushHeaders();
      const watches = this.#watches.get(plural) ?? new Set();
      this.#watches.set(plural, watches.add(response));
      response.on('close', () => watches.delete(response));
    } else {
      this.#list(kind, searchParams, response);
    }
  }

  #list(kind: Kind, query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get('continue') ?? 0);
    const to = Math.min(kind.count(), from + Number(query.get('limit') ?? kind.count()));
    const items = Array.from({ length: to - from }, (_, i) => kind.object(from + i));
    const metadata = {
      resourceVersion: String(this.#version),
      ...(to < kind.count() && { continue: String(to) }),
    };
    response.end(JSON.stringify({ apiVersion: kind.apiVersion, kind: `${kind.kind}List`, metadata, items }));
  }
}
