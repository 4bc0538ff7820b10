import { describe, expect, test } from 'vitest';
import { SUPPORTED_VERSIONS } from '../protocol.ts';
import { assertRepresentable, formatResult, mergeDns, mergeRoutes, type NeutralResult } from './result.ts';
import { refusal } from './testing/refusal.ts';

const dual: NeutralResult = {
  ips: [
    { family: 4, address: '10.0.0.2/24', gateway: '10.0.0.1' },
    { family: 6, address: 'fd00::2/64' },
  ],
  routes: [
    { dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1400, table: 7 },
    { dst: '::/0' },
    { dst: '0.0.0.0/0', gw: '10.0.0.1', table: 8 },
  ],
  dns: { nameservers: ['10.0.0.53'], domain: 'a.example' },
};
const short = [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }, { dst: '::/0' }];

describe('formatResult', () => {
  test.each(['0.1.0', '0.2.0'])('%s has ip4 and ip6, each with the routes of its family', (cniVersion) => {
    expect(formatResult(dual, cniVersion)).toEqual({
      cniVersion,
      ip4: { ip: '10.0.0.2/24', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
      ip6: { ip: 'fd00::2/64', routes: [{ dst: '::/0' }] },
      dns: dual.dns,
    });
  });

  test.each(['0.1.0', '0.2.0'])('%s leaves away a family without an address', (cniVersion) => {
    const result = formatResult({ ips: dual.ips.slice(0, 1), routes: [], dns: {} }, cniVersion);
    expect(result).toEqual({ cniVersion, ip4: { ip: '10.0.0.2/24', gateway: '10.0.0.1' }, dns: {} });
  });

  test.each(['0.3.0', '0.3.1', '0.4.0'])('%s has a list with the family as "version"', (cniVersion) => {
    expect(formatResult(dual, cniVersion)).toEqual({
      cniVersion,
      ips: [
        { version: '4', address: '10.0.0.2/24', gateway: '10.0.0.1' },
        { version: '6', address: 'fd00::2/64' },
      ],
      routes: short,
      dns: dual.dns,
    });
  });

  test('1.0.0 has no "version", and of routes dst and gw', () => {
    expect(formatResult(dual, '1.0.0')).toEqual({
      cniVersion: '1.0.0',
      ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }, { address: 'fd00::2/64' }],
      routes: short,
      dns: dual.dns,
    });
  });

  test('1.1.0 has routes with all their fields', () => {
    expect(formatResult(dual, '1.1.0')).toEqual({
      cniVersion: '1.1.0',
      ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }, { address: 'fd00::2/64' }],
      routes: dual.routes,
      dns: dual.dns,
    });
  });

  test('no version has interfaces: the result of an IPAM plugin is abbreviated', () => {
    for (const version of SUPPORTED_VERSIONS)
      expect(formatResult(dual, version)).not.toHaveProperty('interfaces');
  });
});

describe('assertRepresentable', () => {
  test.each(['0.1.0', '0.2.0'])('two addresses of one family do not fit %s: code 7', (version) => {
    expect(refusal(() => assertRepresentable(version, [4, 6, 4]))).toMatchObject({
      code: 7,
      message: expect.stringContaining(version),
    });
    expect(() => assertRepresentable(version, [6, 4])).not.toThrow();
  });

  test.each(['0.3.0', '1.1.0'])('they fit %s', (version) => {
    expect(() => assertRepresentable(version, [4, 4])).not.toThrow();
  });
});

describe('merging what several pools say', () => {
  test('routes come one after the other, without doubles', () => {
    const a = { dst: '10.1.0.0/16', gw: '10.0.0.1' };
    const b = { dst: '10.1.0.0/16', gw: '10.0.0.1', mtu: 9000 };
    expect(mergeRoutes([[a, b], [b, a], [{ dst: 'fd00::/8' }]])).toEqual([a, b, { dst: 'fd00::/8' }]);
  });

  test('of DNS the lists come one after the other without doubles, and the first domain', () => {
    expect(
      mergeDns([
        { nameservers: ['a', 'b'], domain: '', search: ['x'] },
        { nameservers: ['b', 'c'], domain: 'one', options: ['o'] },
        { domain: 'two', search: ['y'] },
      ]),
    ).toEqual({ nameservers: ['a', 'b', 'c'], domain: 'one', search: ['x', 'y'], options: ['o'] });
    expect(mergeDns([{ nameservers: [] }, {}])).toEqual({});
  });
});
