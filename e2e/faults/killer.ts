/**
 * Loaded before the built agent (`node --import`): ends the process with SIGKILL at one named step.
 *
 * - The product knows nothing of it. Steps are seen from outside: what the agent writes to its journal, the stages of
 *   its requests as undici publishes them (diagnostics_channel), and those of its socket as Node does.
 * - The directory `<state-dir>-faults` tells it what to do: `step` has the step at which to die, `trace` gets a line
 *   for each step that is reached, and `hit` the step at which the process died.
 * - SIGKILL to oneself is delivered before the next statement: nothing of the agent runs after a hit.
 *
 * Steps, each once for every time that it is reached:
 *   `request: received`, `reply: sent`            a CNI request on the socket
 *   `journal <record>: before`, `…: after`        around the write of a record
 *   `create|patch|delete: before`                 nothing of the request has left
 *   `create|patch|delete: sent`                   all of it is in the kernel, and no answer has been read
 *   `create|patch|delete: answered`               the whole answer has been read, and nothing was done about it
 */
import { subscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import type { Socket } from 'node:net';

const stateDir = process.argv.find((arg) => arg.startsWith('--state-dir='))?.slice('--state-dir='.length);
if (stateDir === undefined) throw new Error('killer.ts needs an agent with --state-dir=<directory>');
const directory = `${stateDir}-faults`;

function read(name: string): string | undefined {
  return fs.existsSync(`${directory}/${name}`) ? fs.readFileSync(`${directory}/${name}`, 'utf8') : undefined;
}

/** How often each step was reached since `step` was last written. */
let reached = new Map<string, number>();
let armed: string | undefined;

function reach(step: string): void {
  const wanted = read('step');
  if (wanted === undefined) return;
  if (wanted !== armed) {
    armed = wanted;
    reached = new Map();
  }
  const times = (reached.get(step) ?? 0) + 1;
  reached.set(step, times);
  const name = times === 1 ? step : `${step} #${times}`;
  fs.appendFileSync(`${directory}/trace`, `${name}\n`);
  // The first line only makes one arming different from the next.
  if (wanted.split('\n')[1] === name) {
    fs.writeFileSync(`${directory}/hit`, name);
    process.kill(process.pid, 'SIGKILL');
  }
}

const JOURNAL_RECORD = /^\{"t":"(\w+)"/;
const writeSync = fs.writeSync;

// Only what looks like a record of the journal is stepped around; all else passes through.
fs.writeSync = ((...args: Parameters<typeof fs.writeSync>): number => {
  const data: unknown = args[1];
  const kind = Buffer.isBuffer(data) ? JOURNAL_RECORD.exec(data.toString('utf8'))?.[1] : undefined;
  if (kind === undefined) return writeSync(...args);
  reach(`journal ${kind}: before`);
  const written = writeSync(...args);
  reach(`journal ${kind}: after`);
  return written;
  // The overloads of writeSync are one function.
}) as typeof fs.writeSync;
syncBuiltinESMExports();

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PATCH: 'patch', DELETE: 'delete' };

/** What undici publishes about a request, the part that is used here. */
interface RequestMessage {
  readonly request: { readonly method: string; readonly path: string };
  /** With `undici:client:sendHeaders`. */
  readonly socket?: Socket;
}

/** The verb of a write to a reservation; undefined for any other request. */
function verbOf({ request }: RequestMessage): string | undefined {
  return request.path.includes('/ipreservations') ? VERBS[request.method] : undefined;
}

function onRequest(stage: string, handle: (verb: string, message: RequestMessage) => void): void {
  subscribe(`undici:${stage}`, (message) => {
    // Documented with undici's diagnostics channels.
    const about = message as RequestMessage;
    const verb = verbOf(about);
    if (verb !== undefined) handle(verb, about);
  });
}

const sockets = new WeakMap<object, Socket>();

/** Calls `then` as soon as the kernel has all that was written to the socket. */
function whenFlushed(socket: Socket, then: () => void): void {
  if (socket.writableLength === 0) then();
  else setImmediate(() => whenFlushed(socket, then));
}

onRequest('request:create', (verb) => reach(`${verb}: before`));
onRequest('client:sendHeaders', (_verb, { request, socket }) => {
  if (socket !== undefined) sockets.set(request, socket);
});
onRequest('request:bodySent', (verb, { request }) => {
  const socket = sockets.get(request);
  if (socket === undefined) throw new Error('undici did not say which socket it writes to');
  const arming = read('step');
  // undici corks the socket while it writes: the data leave it when that is over. An answer may be faster, and the next
  // arming with it.
  setImmediate(() =>
    whenFlushed(socket, () => {
      if (read('step') === arming) reach(`${verb}: sent`);
    }),
  );
});
onRequest('request:trailers', (verb) => reach(`${verb}: answered`));

/** Under which arming each CNI request came: the reply to one from before it is no step of this one. */
const received = new WeakMap<IncomingMessage, string>();

function onServer(stage: string, handle: (request: IncomingMessage) => void): void {
  subscribe(`http.server.${stage}`, (message) => {
    // Documented with Node's diagnostics channels.
    const { request } = message as { readonly request: IncomingMessage };
    if (request.method === 'POST') handle(request);
  });
}

onServer('request.start', (request) => {
  const arming = read('step');
  if (arming !== undefined) received.set(request, arming);
  reach('request: received');
});
onServer('response.finish', (request) => {
  if (received.get(request) === read('step')) reach('reply: sent');
});
