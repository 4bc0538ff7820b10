/**
 * Loaded before the built agent (`node --import`): ends the process with SIGKILL at one named step.
 *
 * - The product knows nothing of it. Steps are seen from outside: what the agent writes to its journal, and what goes over
 *   its sockets.
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
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Socket } from 'node:net';

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

/** The verb of a write to a reservation; undefined for anything else that is written. */
function verbOf(chunk: unknown): string | undefined {
  const method =
    typeof chunk === 'string' ? /^(\w+) \S*\/ipreservations\S* HTTP/.exec(chunk)?.[1] : undefined;
  return method === undefined ? undefined : VERBS[method];
}

/** Calls `then` as soon as the kernel has all that was written to the socket. */
function whenFlushed(socket: Socket, then: () => void): void {
  if (socket.writableLength === 0) then();
  else setImmediate(() => whenFlushed(socket, then));
}

/** `then` under the arming of now only: what comes after another one is no step of it. */
function underThisArming(then: () => void): () => void {
  const arming = read('step');
  return () => {
    if (read('step') === arming) then();
  };
}

/** The answer to a write that is under way on a connection, as far as it has come. */
const answers = new WeakMap<Socket, { readonly verb: string; text: string }>();
/** Connections of CNI requests, with what is to be done when the reply has left. */
const replies = new WeakMap<Socket, () => void>();

/** Whether the text is an answer with all of its body: the API server gives short ones a length, and cuts long ones in chunks. */
function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1];
  return length === undefined ? text.endsWith('\r\n0\r\n\r\n') : text.length >= end + 4 + Number(length);
}

// oxlint-disable-next-line typescript/unbound-method -- called with their `this` below
const { write, emit } = Socket.prototype;

Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>): boolean {
  const verb = verbOf(args[0]);
  if (verb !== undefined) {
    reach(`${verb}: before`);
    answers.set(this, { verb, text: '' });
  }
  const replied = replies.get(this);
  replies.delete(this);
  const isRoom = Reflect.apply(write, this, args);
  // An answer may be faster, and the next arming with it.
  if (verb !== undefined) {
    const sent = underThisArming(() => reach(`${verb}: sent`));
    setImmediate(() => whenFlushed(this, sent));
  }
  if (replied !== undefined) setImmediate(() => whenFlushed(this, replied));
  return isRoom;
  // The overloads of write are one function.
} as typeof write;

Socket.prototype.emit = function (this: Socket, ...args: Parameters<typeof emit>): boolean {
  const [event, chunk] = args as unknown[];
  if (event === 'data' && Buffer.isBuffer(chunk)) {
    const text = chunk.toString('latin1');
    const answer = answers.get(this);
    if (answer !== undefined) {
      answer.text += text;
      if (isWhole(answer.text)) {
        answers.delete(this);
        reach(`${answer.verb}: answered`);
      }
    } else if (text.startsWith('POST /v1/cni ')) {
      replies.set(
        this,
        underThisArming(() => reach('reply: sent')),
      );
      reach('request: received');
    }
  }
  return Reflect.apply(emit, this, args);
  // Typed by event, where any is passed through here.
} as typeof emit;
