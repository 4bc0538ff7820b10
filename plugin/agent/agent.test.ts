import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ipPools, ipReservations } from '../../crds/resources.ts';
import { systemClock, systemRandom } from '../../kube/clock.ts';
import { events, pods } from '../../kube/core.ts';
import { ApiError } from '../../kube/errors.ts';
import { silentLog } from '../../kube/log.ts';
import { MemoryApi } from '../../kube/memory.ts';
import { type CniAnswer, type CniRequest, deleteEntryName, deletesDir, MARKER_FILE } from '../protocol.ts';
import { Agent, journalGauges, prepareStateDir, startDelay } from './agent.ts';
import { type Journal, openJournal } from './journal.ts';
import { AgentMetrics } from './metrics.ts';
import { aPool, berthResources } from './testing/world.ts';

describe('the agent as a whole', () => {
  let directory = '';
  let stateDir = '';
  let socket = '';
  let api = new MemoryApi({ resources: berthResources });
  let uid = '';

  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-whole-'));
    stateDir = path.join(directory, 'state');
    socket = path.join(directory, 'agent.sock');
    api = new MemoryApi({ resources: berthResources });
    const pool = aPool('v4', { default: true });
    const created = await api.create(ipPools, pool);
    await api.update(ipPools, { ...created, status: pool.status ?? {} }, { subresource: 'status' });
    const pod = await api.create(pods, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { nodeName: 'node-1' },
    });
    uid = pod.metadata.uid ?? '';
  });

  afterEach(() => fs.rmSync(directory, { recursive: true }));

  interface Running extends AsyncDisposable {
    readonly agent: Agent;
    readonly journal: Journal;
    readonly ended: Promise<void>;
    stop(): Promise<void>;
  }

  function run(): Running {
    prepareStateDir(stateDir);
    const journal = openJournal({
      stateDir,
      now: 0,
      onDamage: (setAside) => expect.unreachable(setAside),
      onCompactionFailed: (error) => expect.unreachable(String(error)),
    });
    const agent = new Agent({
      node: 'node-1',
      socket,
      stateDir,
      api,
      journal,
      metrics: new AgentMetrics(journalGauges(journal)),
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const end = new AbortController();
    const ended = agent.run(end.signal);
    const stop = async (): Promise<void> => {
      end.abort(new Error('stopped by the test'));
      await ended;
    };
    const dispose = async (): Promise<void> => {
      end.abort();
      await Promise.allSettled([ended]);
      journal.close();
    };
    return { agent, journal, ended, stop, [Symbol.asyncDispose]: dispose };
  }

  const request = (command: string, container = 'c1'): CniRequest => ({
    command,
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: container,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=${uid}`,
    },
    config: JSON.stringify({ cniVersion: '1.1.0', name: 'net', ipam: { type: 'berth' } }),
  });

  async function ask(method: string, url: string, body?: object): Promise<{ status: number; json: unknown }> {
    const sent = http.request({ socketPath: socket, method, path: url, agent: false });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [http.IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    return {
      status: response.statusCode ?? 0,
      json: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text,
    };
  }

  const cni = async (command: string, container?: string): Promise<CniAnswer> =>
    // The answer of the wire.
    (await ask('POST', '/v1/cni', request(command, container))).json as CniAnswer;
  const ready = (running: Running): Promise<void> =>
    expect.poll(() => running.agent.probes.checks?.readyz(), { timeout: 10_000 }).toBeUndefined();
  const isMarked = (): boolean => fs.existsSync(path.join(deletesDir(stateDir), MARKER_FILE));

  test('serves ADD and DEL on its socket, shows itself there, and keeps its state to itself', async () => {
    await using running = run();
    await ready(running);
    expect(isMarked()).toBe(true);
    expect(fs.statSync(stateDir).mode & 0o777).toBe(0o700);
    const added = await cni('ADD');
    expect(added.exitCode, added.stdout).toBe(0);
    const [reservation] = api.objects(ipReservations);
    const address = reservation?.spec.address ?? '';
    expect((await ask('GET', '/v1/attachments')).json).toMatchObject({
      attachments: [{ owner: { containerID: 'c1' }, claims: [{ address }] }],
      releasing: [],
      inDoubt: [],
    });
    expect((await ask('GET', '/v1/pools')).json).toMatchObject([
      { name: 'v4', ready: 'True', subnet: '10.0.0.0/29' },
    ]);
    expect((await ask('GET', '/v1/config')).json).toEqual({ node: 'node-1', socket, stateDir });
    expect((await ask('GET', '/metrics')).json).toContain('berth_agent_attachments 1');
    expect(await cni('DEL')).toEqual({ exitCode: 0, stdout: '' });
    expect(api.objects(ipReservations)).toEqual([]);
    await running.stop();
    expect(fs.existsSync(socket)).toBe(false);
    expect(api.watches).toBe(0);
  });

  test('answers a failed ADD while its Event hangs, and stops all the same', async () => {
    await using running = run();
    await ready(running);
    const hanging = Promise.withResolvers<void>();
    let begun = 0;
    api.hooks = {
      before: ({ verb, resource }) => {
        if (verb !== 'create' || resource.plural !== 'events') return undefined;
        begun += 1;
        return hanging.promise;
      },
    };
    const wrong = {
      ...request('ADD', 'c2'),
      config: '{"cniVersion":"1.1.0","name":"net","ipam":{"type":"berth","pools":["no"]}}',
    };
    expect((await ask('POST', '/v1/cni', wrong)).json).toMatchObject({ exitCode: 1 });
    await expect.poll(() => begun).toBe(1);
    expect((await cni('ADD')).exitCode).toBe(0);
    await running.stop();
    expect(api.objects(events)).toEqual([]);
    hanging.resolve();
    await expect
      .poll(() => api.objects(events))
      .toMatchObject([
        {
          type: 'Warning',
          reason: 'PoolNotFound',
          involvedObject: { kind: 'Pod', namespace: 'shop', name: 'web', uid },
          source: { component: 'berth-agent', host: 'node-1' },
          message: 'pod shop/web, interface eth0: pool no does not exist',
        },
      ]);
  });

  test('works off queued DELs before it serves', async () => {
    {
      await using first = run();
      await ready(first);
      await cni('ADD');
    }
    const entry = path.join(deletesDir(stateDir), deleteEntryName(Date.now() + 1, 0.5));
    fs.writeFileSync(entry, JSON.stringify(request('DEL')));
    await using second = run();
    await ready(second);
    expect(fs.existsSync(entry)).toBe(false);
    expect(second.journal.state.attachments.size).toBe(0);
    await expect.poll(() => api.objects(ipReservations), { timeout: 10_000 }).toEqual([]);
  });

  test('does not serve before it has compared, and no marker is made; then it does', async () => {
    api.hooks = {
      before: ({ verb, resource }) => {
        if (verb === 'list' && resource.plural === 'ipreservations')
          throw new ApiError('Unreachable', 'away');
      },
    };
    await using running = run();
    await expect.poll(() => api.watches, { timeout: 10_000 }).toBe(4);
    expect(running.agent.probes.checks?.readyz()).toContain('not yet compared');
    expect([fs.existsSync(socket), isMarked()]).toEqual([false, false]);
    api.hooks = {};
    await ready(running);
    expect([fs.existsSync(socket), isMarked()]).toEqual([true, true]);
  });

  test('that is stopped before it serves ends with the reason', async () => {
    api.hooks = {
      before: () => {
        throw new ApiError('Unreachable', 'away');
      },
    };
    await using running = run();
    await expect(running.stop()).rejects.toThrow('stopped by the test');
    expect(api.watches).toBe(0);
  });

  test('that can not have its socket ends with the reason, and leaves nothing running', async () => {
    fs.writeFileSync(socket, '');
    await using running = run();
    await expect(running.ended).rejects.toThrow('not a socket');
    expect(api.watches).toBe(0);
  });
});

describe('the state directory', () => {
  let top = '';
  let stateDir = '';

  beforeEach(() => {
    top = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-state-'));
    stateDir = path.join(top, 'berth');
  });

  afterEach(() => fs.rmSync(top, { recursive: true }));

  test('is made for its owner only, and one that others could read is closed', () => {
    for (const prepare of [(): void => undefined, (): void => fs.chmodSync(stateDir, 0o755)]) {
      prepare();
      prepareStateDir(stateDir);
      expect([stateDir, deletesDir(stateDir)].map((each) => fs.statSync(each).mode & 0o777)).toEqual([
        0o700, 0o700,
      ]);
    }
  });

  test('that everybody could write is refused: what lies in it may be theirs', () => {
    fs.mkdirSync(stateDir);
    fs.chmodSync(stateDir, 0o777);
    expect(() => prepareStateDir(stateDir)).toThrow(`${stateDir} may be written by`);
  });

  test('may be a link, but what lies in it may not', () => {
    const real = path.join(top, 'disk');
    fs.mkdirSync(real);
    fs.symlinkSync(real, stateDir);
    prepareStateDir(stateDir);
    fs.rmSync(deletesDir(stateDir), { recursive: true });
    fs.symlinkSync(top, deletesDir(stateDir));
    expect(() => prepareStateDir(stateDir)).toThrow(`${deletesDir(stateDir)} is a symbolic link`);
    expect(fs.statSync(top).mode & 0o777).toBe(0o700);
  });

  test.each(['berth', 'berth/deletes'])('is an error where %s is a file', (which) => {
    const file = path.join(top, which);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, '');
    expect(() => prepareStateDir(stateDir)).toThrow(file);
  });
});

/**
 * A thousand agents that start at the same time, and a server that answers one after the other: the lists of all, 5 ms each,
 * and then comparisons of 20 ms.
 * @returns the most comparisons that waited at the server at any time
 */
function storm(delay: (listsMs: number, i: number) => number): number {
  const lists = Array.from({ length: 1000 }, (_, i) => 5 * (i + 1));
  const asked = lists.map((done, i) => done + delay(done, i)).toSorted((a, b) => a - b);
  let free = 0;
  const done = asked.map((at) => {
    free = Math.max(free, at) + 20;
    return free;
  });
  return Math.max(...asked.map((at, i) => i - done.findIndex((end) => end > at) + 1));
}

test('a thousand agents that start at the same time spread their comparisons; one alone does not wait', () => {
  const random = (i: number): number => ((i * 7919) % 1000) / 1000;
  const spread = storm((listsMs, i) => startDelay(listsMs, () => random(i)));
  expect(spread).toBeLessThan(0.75 * storm(() => 0));
  expect(startDelay(50, () => 1)).toBe(0);
  expect(startDelay(1_500, () => 1)).toBe(6_000);
  expect(startDelay(60_000, () => 1)).toBe(8_000);
  expect(startDelay(60_000, () => 0)).toBe(0);
});
