import { describe, expect, test } from 'vitest';
import type { CniRequest } from '../protocol.ts';
import { parseAttachment, parseCniArgs, parseConfig, parseRequest } from './request.ts';
import { refusal } from './testing/refusal.ts';

function request(env: Record<string, string> = {}, config: object = {}, command = 'ADD'): CniRequest {
  return {
    command,
    env: { CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', ...env },
    config: JSON.stringify({ cniVersion: '1.1.0', name: 'net', ipam: { type: 'berth' }, ...config }),
  };
}

describe('parseConfig', () => {
  test.each(['', '{', 'nothing'])('%j is no JSON: code 6', (text) => {
    expect(refusal(() => parseConfig(text))).toMatchObject({
      code: 6,
      message: expect.stringContaining('not JSON'),
    });
  });

  test.each(['[]', 'null', '3', '"ADD"'])('%s is no object: code 6', (text) => {
    expect(refusal(() => parseConfig(text))).toMatchObject({ code: 6 });
  });

  test.each(['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])(
    'cniVersion %s is spoken',
    (cniVersion) => {
      const text = JSON.stringify({ cniVersion, name: 'net', ipam: { type: 'berth' } });
      expect(parseConfig(text, 'ADD').cniVersion).toBe(cniVersion);
    },
  );

  test.each([undefined, null, ''])('cniVersion %j means 0.1.0', (cniVersion) => {
    const text = JSON.stringify({ cniVersion, name: 'net', ipam: { type: 'berth' } });
    expect(parseConfig(text, 'ADD').cniVersion).toBe('0.1.0');
  });

  test.each(['2.0.0', '1.1', 7])('cniVersion %j is code 1 and quoted', (cniVersion) => {
    const text = JSON.stringify({ cniVersion, name: 'net', ipam: { type: 'berth' } });
    expect(refusal(() => parseConfig(text, 'ADD'))).toMatchObject({
      code: 1,
      message: expect.stringContaining(JSON.stringify(cniVersion)),
    });
  });

  test.each([
    ['CHECK', '0.3.1'],
    ['GC', '1.0.0'],
  ])('%s does not exist in %s: code 1', (command, cniVersion) => {
    const text = JSON.stringify({ cniVersion, name: 'net', ipam: { type: 'berth' } });
    expect(refusal(() => parseConfig(text, command)).code).toBe(1);
  });

  test('an unknown key of ipam is code 7, named, and the known ones are listed', () => {
    const error = refusal(() =>
      parseConfig('{"name":"net","ipam":{"type":"berth","pool":"a","sokcet":"b"}}'),
    );
    expect(error.code).toBe(7);
    expect(error.message).toContain('"ipam.pool", "ipam.sokcet"');
    expect(error.message).toContain('type, network, pools, socket, stateDir, annotatePod');
  });

  test.each([
    [{ ipam: { type: 'berth', pools: 'a' } }, 'ipam.pools'],
    [{ ipam: { type: 'berth', pools: [''] } }, 'ipam.pools.0'],
    [{ ipam: { type: 'berth', network: 3 } }, 'ipam.network'],
    [{ ipam: {} }, 'ipam.type'],
    [{ ipam: undefined }, 'ipam'],
    [{ args: { cni: { ips: '10.0.0.1' } } }, 'args.cni.ips'],
    [{ runtimeConfig: { ips: [4] } }, 'runtimeConfig.ips.0'],
    [{ 'cni.dev/valid-attachments': [{ containerID: 'a' }] }, 'cni.dev/valid-attachments.0.ifname'],
    [{ name: '' }, 'name'],
    [{ name: '../net' }, 'name'],
    [{ name: '-net' }, 'name'],
  ])('%j is code 7 and names %s', (config, path) => {
    const error = refusal(() => parseRequest(request({}, config)));
    expect(error.code).toBe(7);
    expect(error.message).toContain(`"${path}"`);
  });

  test('what belongs to other plugins and runtimes is tolerated', () => {
    const config = parseConfig(
      JSON.stringify({
        name: 'net',
        type: 'bridge',
        bridge: 'br0',
        dns: {},
        args: { cni: { labels: [] }, other: 1 },
        runtimeConfig: { mac: 'x' },
        prevResult: { ips: [] },
        ipam: {
          type: 'berth',
          network: 'storage',
          pools: ['a'],
          socket: '/s',
          stateDir: '/d',
          annotatePod: true,
        },
      }),
    );
    expect(config.ipam).toEqual({
      type: 'berth',
      network: 'storage',
      pools: ['a'],
      socket: '/s',
      stateDir: '/d',
      annotatePod: true,
    });
  });

  test.each(['args', 'runtimeConfig', 'prevResult', 'cni.dev/valid-attachments'])('%s may be null', (key) => {
    expect(parseConfig(JSON.stringify({ name: 'net', ipam: { type: 'berth' }, [key]: null }))).toHaveProperty(
      [key],
      null,
    );
  });

  test.each(['CHECK', 'GC'])('%s needs a name too', (command) => {
    expect(refusal(() => parseRequest(request({}, { name: undefined }, command)))).toMatchObject({ code: 7 });
  });

  test.each([[[[{ subnet: '10.1.2.0/24' }]]], ['10.0.0.0/8'], [{}]])(
    'the capability ipRanges is code 2 with its value: %j',
    (ipRanges) => {
      const error = refusal(() => parseRequest(request({}, { runtimeConfig: { ipRanges } })));
      expect(error.code).toBe(2);
      expect(error.message).toContain(`"runtimeConfig.ipRanges" with the value ${JSON.stringify(ipRanges)}`);
    },
  );

  test.each([undefined, null, []])('ipRanges %j ask for nothing', (ipRanges) => {
    expect(parseRequest(request({}, { runtimeConfig: { ipRanges } })).cniNetwork).toBe('net');
  });

  test.each([
    { name: undefined },
    { name: '../net' },
    { ipam: undefined },
    { ipam: { type: 'berth', subnet: '10.0.0.0/8' } },
    { prevResult: 'none' },
    { runtimeConfig: { ips: 4, ipRanges: [[{}]] } },
    { args: { cni: { ips: 'a' } } },
  ])('a DEL is understood, whatever its configuration has become: %j', (config) => {
    expect(parseRequest(request({ CNI_ARGS: 'oops;K8S_POD_NAME=web' }, config, 'DEL'))).toMatchObject({
      id: { containerID: 'c1', ifname: 'eth0' },
      cniNetwork: '',
      config: { cniVersion: '1.1.0' },
      pod: { name: 'web' },
    });
  });

  test.each([
    ['{', 6],
    ['{"cniVersion":"9.9.9"}', 1],
  ])('a DEL of %s is code %i', (config, code) => {
    expect(refusal(() => parseRequest({ ...request({}, {}, 'DEL'), config })).code).toBe(code);
  });
});

describe('parseCniArgs', () => {
  test('splits pairs at the first "=", tolerates unknown keys, empty items and spaces', () => {
    expect([...parseCniArgs('IgnoreUnknown=1; K8S_POD_NAME=web ;;X=a=b;Y=')]).toEqual([
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAME', 'web'],
      ['X', 'a=b'],
      ['Y', ''],
    ]);
  });

  test('an item without "=" is code 4 and quoted', () => {
    expect(refusal(() => parseCniArgs('A=1;oops'))).toMatchObject({
      code: 4,
      message: expect.stringContaining('"oops"'),
    });
  });
});

describe('parseAttachment', () => {
  test.each(['', '-a', 'a/b', 'a b', 'ä', '../x'])('CNI_CONTAINERID %j is code 4', (id) => {
    expect(refusal(() => parseAttachment(request({ CNI_CONTAINERID: id })))).toMatchObject({
      code: 4,
      message: expect.stringContaining('CNI_CONTAINERID'),
    });
  });

  test('a container ID that does not fit a reservation is code 4 and says the limit', () => {
    expect(parseAttachment(request({ CNI_CONTAINERID: 'a'.repeat(128) })).containerID).toHaveLength(128);
    const error = refusal(() => parseAttachment(request({ CNI_CONTAINERID: 'a'.repeat(129) })));
    expect(error).toMatchObject({ code: 4, message: expect.stringContaining('128') });
    expect(parseAttachment(request({ CNI_CONTAINERID: 'a'.repeat(129) }, {}, 'DEL')).ifname).toBe('eth0');
  });

  test.each(['', '.', '..', 'a/b', 'a:b', 'a b', 'abcdefghijklmnop'])('CNI_IFNAME %j is code 4', (ifname) => {
    expect(refusal(() => parseAttachment(request({ CNI_IFNAME: ifname })))).toMatchObject({
      code: 4,
      message: expect.stringContaining('CNI_IFNAME'),
    });
  });
});

describe('parseRequest', () => {
  test('takes the pod and the requested addresses from CNI_ARGS', () => {
    const args = 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u1;IP=10.0.0.1, 10.0.0.2,';
    const parsed = parseRequest(request({ CNI_ARGS: args }));
    expect(parsed.pod).toEqual({ namespace: 'shop', name: 'web', uid: 'u1' });
    expect(parsed.requestedByArgs).toEqual(['10.0.0.1', ' 10.0.0.2']);
    expect(parsed).toMatchObject({ id: { containerID: 'c1', ifname: 'eth0' }, cniNetwork: 'net' });
  });

  test('empty values count as absent', () => {
    const parsed = parseRequest(request({ CNI_ARGS: 'K8S_POD_NAMESPACE=;K8S_POD_NAME=;K8S_POD_UID=' }));
    expect(parsed.pod).toEqual({ namespace: undefined, name: undefined, uid: undefined });
  });

  test('GC names no attachment', () => {
    const { config } = request({}, { 'cni.dev/valid-attachments': [] });
    expect(parseRequest({ command: 'GC', env: {}, config }).id).toEqual({ containerID: '', ifname: '' });
  });
});
