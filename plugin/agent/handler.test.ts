import { describe, expect, test } from 'vitest';
import { ApiError } from '../../kube/errors.ts';
import { FakeClock } from '../../kube/testing/fakeclock.ts';
import type { CniAnswer, CniRequest } from '../protocol.ts';
import { CniError } from './errors.ts';
import { Handler, type HandlerOptions } from './handler.ts';
import type { NeutralResult } from './result.ts';

const result: NeutralResult = { ips: [{ family: 4, address: '10.0.0.2/24' }], routes: [], dns: {} };

function request(command: string, config: object | string = {}): CniRequest {
  const whole = {
    cniVersion: '1.0.0',
    name: 'net',
    ipam: { type: 'berth' },
    'cni.dev/valid-attachments': [],
  };
  return {
    command,
    env: {
      CNI_CONTAINERID: 'c1',
      CNI_IFNAME: 'net1',
      CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web',
    },
    config: typeof config === 'string' ? config : JSON.stringify({ ...whole, ...config }),
  };
}

interface Answered {
  readonly answer: CniAnswer;
  readonly error: Record<string, unknown>;
  readonly metrics: unknown[];
  readonly lines: { level: string; message: string }[];
}

async function handle(
  what: CniRequest,
  attachments: Partial<HandlerOptions['attachments']> = {},
): Promise<Answered> {
  const metrics: unknown[] = [];
  const lines: Answered['lines'] = [];
  const at =
    (level: string) =>
    (_fields: object, message: string): void =>
      void lines.push({ level, message });
  const handler = new Handler({
    attachments: {
      add: async () => result,
      del: async () => undefined,
      check: async () => undefined,
      gc: async () => undefined,
      ...attachments,
    },
    canary: { assure: async () => undefined },
    events: { warn: () => undefined },
    clock: new FakeClock(),
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    onAnswered: (...values) => metrics.push(values),
  });
  const answer = await handler.handle(what);
  // What a CNI plugin prints is an object.
  const error = answer.stdout === '' ? {} : (JSON.parse(answer.stdout) as Record<string, unknown>);
  return { answer, error, metrics, lines };
}

test('a refusal by roles or policy is an error in the log, any other refusal is none', async () => {
  const refusing = (kind: 'Forbidden' | 'Throttled'): Promise<Answered> =>
    handle(request('ADD'), {
      add: () => Promise.reject(new CniError(11, 'it was refused', '', new ApiError(kind, 'no'))),
    });
  const { error, lines } = await refusing('Forbidden');
  expect(error['code']).toBe(11);
  expect(lines).toEqual([{ level: 'error', message: expect.stringContaining('roles and admission policy') }]);
  expect((await refusing('Throttled')).lines.map(({ level }) => level)).toEqual(['debug']);
});

describe('success', () => {
  test('of ADD is the result in the version of the configuration', async () => {
    const { answer, metrics } = await handle(request('ADD'));
    expect(answer).toEqual({
      exitCode: 0,
      stdout: '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}],"routes":[],"dns":{}}\n',
    });
    expect(metrics).toEqual([['ADD', 0, 0]]);
  });

  test.each(['DEL', 'CHECK'])('of %s prints nothing', async (command) => {
    expect((await handle(request(command))).answer).toEqual({ exitCode: 0, stdout: '' });
  });

  test('of GC prints nothing', async () => {
    expect((await handle(request('GC', { cniVersion: '1.1.0' }))).answer).toEqual({
      exitCode: 0,
      stdout: '',
    });
  });
});

describe('a refusal', () => {
  test('is the CNI error: its code, one line that names pod and interface, the rest in details', async () => {
    const add = (): Promise<never> => Promise.reject(new CniError(101, 'pool a is full', 'line 1\nline 2'));
    const { answer, error, metrics } = await handle(request('ADD'), { add });
    expect(answer.exitCode).toBe(1);
    expect(error).toEqual({
      cniVersion: '1.0.0',
      code: 101,
      msg: 'pod shop/web, interface net1: pool a is full',
      details: 'line 1\nline 2',
    });
    expect(metrics).toEqual([['ADD', 101, 0]]);
  });

  test('names the container where no pod is named', async () => {
    const add = (): Promise<never> => Promise.reject(new CniError(101, 'full'));
    const of = request('ADD');
    const { error } = await handle({ ...of, env: { ...of.env, CNI_ARGS: '' } }, { add });
    expect(error['msg']).toBe('container c1, interface net1: full');
  });

  test('of a configuration is in the version of that configuration', async () => {
    const { error } = await handle(request('ADD', { cniVersion: '0.4.0', ipam: { type: 'berth', typo: 1 } }));
    expect(error).toMatchObject({ cniVersion: '0.4.0', code: 7, msg: expect.stringContaining('ipam.typo') });
  });

  test('of a version that nobody speaks is in the newest one', async () => {
    expect((await handle(request('ADD', { cniVersion: '9.0.0' }))).error).toMatchObject({
      cniVersion: '1.1.0',
      code: 1,
    });
    expect((await handle(request('ADD', '{'))).error).toMatchObject({ cniVersion: '1.1.0', code: 6 });
    expect((await handle(request('ADD', { cniVersion: undefined, name: '' }))).error).toMatchObject({
      cniVersion: '0.1.0',
      code: 7,
    });
  });

  test.each(['STATUS', 'VERSION', 'FLY', ''])(
    'command %j is code 4 and counted as unknown',
    async (command) => {
      const { error, metrics } = await handle(request(command));
      expect(error).toMatchObject({ code: 4 });
      expect(metrics).toEqual([['unknown', 4, 0]]);
    },
  );

  test('is not logged above debug: it is an answer', async () => {
    const add = (): Promise<never> => Promise.reject(new CniError(101, 'full'));
    const { lines } = await handle(request('ADD'), { add });
    expect(lines.map((line) => line.level)).toEqual(['debug']);
  });
});

test('a fault is logged, and worth another try: code 11', async () => {
  const del = (): Promise<never> => Promise.reject(new TypeError('a\nbug'));
  const { error, lines } = await handle(request('DEL'), { del });
  expect(error).toMatchObject({ code: 11, msg: 'pod shop/web, interface net1: the agent failed: a bug' });
  expect(lines.map((line) => line.level)).toEqual(['error']);
});
