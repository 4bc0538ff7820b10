/**
 * The floor under any agent that is a Node program: takes a CNI request from a unix socket, creates one reservation over a kept TLS
 * connection, answers, and does nothing else that an agent does. What it costs is what nobody can save in such an agent; it
 * is started by `callers.ts`, and measured beside the agent in the same run.
 *
 * It knows nothing of errors: whatever is not as it should be ends it.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { parseArgs } from 'node:util';
import type { Address } from '../ipam/address.ts';
import { parseCidr } from '../ipam/cidr.ts';
import { reservationName } from '../ipam/name.ts';
import { bindNew } from '../ipam/reservation.ts';
import type { CniRequest } from '../plugin/protocol.ts';

const { values } = parseArgs({
  options: {
    kubeconfig: { type: 'string', default: '' },
    socket: { type: 'string', default: '' },
    node: { type: 'string', default: '' },
    network: { type: 'string', default: '' },
    pool: { type: 'string', default: '' },
  },
});

/** A kubeconfig as the tests' control plane writes it. */
interface Config {
  readonly clusters: readonly [
    { readonly cluster: { server: string; 'certificate-authority-data': string } },
  ];
  readonly users: readonly [{ readonly user: { readonly token: string } }];
}

const config = JSON.parse(readFileSync(values.kubeconfig, 'utf8')) as Config; // our own, see writeKubeconfig
const { cluster } = config.clusters[0];
const server = new URL(cluster.server);
const ca = Buffer.from(cluster['certificate-authority-data'], 'base64');
const HEAD = [
  'POST /apis/ipam.berth.dev/v1alpha1/ipreservations HTTP/1.1',
  `host: ${server.host}`,
  `authorization: Bearer ${config.users[0].user.token}`,
  'accept: application/json',
  'user-agent: berth-bench-floor',
  'content-type: application/json',
].join('\r\n');

const SUBNET = parseCidr('12.0.0.0/8');
let created = 0n;

/** Of the next address, for the pod that CNI_ARGS name. */
function reservation({ env }: CniRequest): string {
  const items = (env['CNI_ARGS'] ?? '').split(';').map((item) => item.split('='));
  const arg = (name: string): string => items.find(([key]) => key === name)?.[1] ?? '';
  created += 1n;
  const { network, pool, node } = values;
  const address: Address = { family: 4, value: SUBNET.base + created };
  const spec = bindNew({
    network,
    address,
    pool,
    owner: {
      kind: 'Pod',
      namespace: arg('K8S_POD_NAMESPACE'),
      name: arg('K8S_POD_NAME'),
      uid: arg('K8S_POD_UID'),
      node,
      containerID: env['CNI_CONTAINERID'] ?? '',
      ifname: env['CNI_IFNAME'] ?? '',
      cniNetwork: 'bench',
    },
    now: Date.now(),
  });
  const metadata = { name: reservationName(network, address) };
  return JSON.stringify({ apiVersion: 'ipam.berth.dev/v1alpha1', kind: 'IPReservation', metadata, spec });
}

/** Kept connections that nobody uses. */
const resting: Line[] = [];

/** One connection to the API server, with one request at a time. */
class Line {
  readonly #socket: TLSSocket;
  #answer: Buffer = Buffer.alloc(0);
  #answered: ((body: string) => void) | undefined;

  constructor() {
    this.#socket = connect({
      host: server.hostname,
      port: Number(server.port),
      ca,
      ALPNProtocols: ['http/1.1'],
    });
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    // The API server closes what nobody has used for a while.
    this.#socket.on('close', () => {
      const at = resting.indexOf(this);
      if (at !== -1) resting.splice(at, 1);
    });
  }

  send(body: string, answered: (body: string) => void): void {
    this.#answered = answered;
    this.#socket.write(`${HEAD}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  #read(chunk: Buffer): void {
    this.#answer = this.#answer.length === 0 ? chunk : Buffer.concat([this.#answer, chunk]);
    const end = this.#answer.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = this.#answer.toString('latin1', 0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
    if (this.#answer.length < end + 4 + length) return;
    const body = this.#answer.toString('utf8', end + 4);
    if (!head.startsWith('HTTP/1.1 201')) throw new Error(`${head}\n${body}`);
    this.#answer = Buffer.alloc(0);
    resting.push(this);
    this.#answered?.(body);
  }
}

function answer(socket: Socket, chunk: Buffer): void {
  const request = JSON.parse(chunk.toString('utf8', chunk.indexOf('\r\n\r\n') + 4)) as CniRequest; // as SocketClient sends it
  const line = resting.pop() ?? new Line();
  line.send(reservation(request), (created) => {
    // Its own answer to a create of what it has just sent.
    const { spec } = JSON.parse(created) as { spec: { address: string } };
    const stdout = JSON.stringify({ cniVersion: '1.1.0', ips: [{ address: `${spec.address}/8` }] });
    const body = JSON.stringify({ exitCode: 0, stdout });
    socket.end(
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  });
}

createServer((socket) => socket.once('data', (chunk: Buffer) => answer(socket, chunk))).listen(values.socket);
process.once('SIGTERM', () => process.exit());
