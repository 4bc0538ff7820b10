/** The corpus and 1,500 generated inputs against the built agent and binary; `make fuzz` sends many more. */
import { expect, test } from 'vitest';
import { parseResponses } from './rawhttp.ts';
import { corpus, fuzz, problemsOf, report } from './session.ts';
import { complaintsAbout, type Expectation } from './validate.ts';

const SEED = Number(process.env['BERTH_FUZZ_SEED'] ?? 20_260);
/** Milliseconds; half a minute where nothing else runs. */
const LIMIT_MS = 600_000;

test(`corpus and seed ${SEED}: no crash, no hang, no growth, and every answer is valid`, {
  timeout: LIMIT_MS,
}, async () => {
  const outcome = await fuzz({
    seed: SEED,
    inputs: 2_000,
    warmUp: 1_000,
    binaryShare: 100,
    log: console.log,
  });
  console.log(report(outcome));
  expect(problemsOf(outcome)).toEqual([]);
});

test('no input of the corpus is there twice', () => {
  const all = [...corpus().values()].flat().map((input) => JSON.stringify(input));
  expect(all.length).toBeGreaterThan(20);
  expect(new Set(all).size).toBe(all.length);
});

/** The validator must see what is wrong, or its silence means nothing. */
const add: Expectation = { command: 'ADD', cniVersion: '1.1.0', subnets: ['10.0.0.0/16', 'fd00::/64'] };
const good = {
  cniVersion: '1.1.0',
  ips: [{ address: '10.0.0.7/16', gateway: '10.0.0.1' }],
  routes: [{ dst: '0.0.0.0/0', mtu: 1400 }],
  dns: { nameservers: ['10.0.0.2'] },
};
const error = { cniVersion: '1.1.0', code: 101, msg: 'full', details: 'a\nb' };

test('what is valid is not complained about', () => {
  const fine = (exitCode: number, json: object, cniVersion = '1.1.0'): string[] =>
    complaintsAbout(exitCode, `${JSON.stringify(json)}\n`, { ...add, cniVersion });
  expect(fine(0, good)).toEqual([]);
  const old = { cniVersion: '0.2.0', ip4: { ip: '10.0.0.7/16', routes: [{ dst: '0.0.0.0/0' }] }, dns: {} };
  expect(fine(0, old, '0.2.0')).toEqual([]);
  const middle = { cniVersion: '0.3.1', ips: [{ version: '6', address: 'fd00::7/64' }], routes: [], dns: {} };
  expect(fine(0, middle, '0.3.1')).toEqual([]);
  expect(fine(1, error)).toEqual([]);
  expect(complaintsAbout(0, '', { ...add, command: 'DEL' })).toEqual([]);
});

test.each<[string, number, unknown]>([
  ['another version', 0, { ...good, cniVersion: '1.0.0' }],
  ['interfaces', 0, { ...good, interfaces: [] }],
  ['no address', 0, { ...good, ips: [] }],
  ['an address without prefix length', 0, { ...good, ips: [{ address: '10.0.0.7' }] }],
  ['an address of no pool', 0, { ...good, ips: [{ address: '10.1.0.7/16' }] }],
  ["a prefix length that is not the pool's", 0, { ...good, ips: [{ address: '10.0.0.7/24' }] }],
  ['a gateway of the other family', 0, { ...good, ips: [{ address: '10.0.0.7/16', gateway: 'fd00::1' }] }],
  ['version where it has no place', 0, { ...good, ips: [{ address: '10.0.0.7/16', version: '4' }] }],
  ['no routes', 0, { ...good, routes: undefined }],
  ['a route with an odd key', 0, { ...good, routes: [{ dst: '0.0.0.0/0', via: 'x' }] }],
  ['dns that is no list', 0, { ...good, dns: { search: 'x' } }],
  ['an odd exit status', 2, error],
  ['an unknown code', 1, { ...error, code: 999 }],
  ['no msg', 1, { ...error, msg: '' }],
  ['two lines of msg', 1, { ...error, msg: 'a\nb' }],
  ['an escape sequence', 1, { ...error, msg: 'a\u001b[2J' }],
  ['an odd key', 1, { ...error, more: 1 }],
  ['a fault of ours', 1, { ...error, code: 11, msg: 'pod a/b, interface c: the agent failed: oops' }],
  ['a list', 1, []],
])('%s is complained about', (_what, exitCode, json) => {
  expect(complaintsAbout(exitCode, `${JSON.stringify(json)}\n`, add)).not.toEqual([]);
});

test('what is no JSON, or more than a line, is complained about', () => {
  expect(complaintsAbout(0, 'ok\n', add)).not.toEqual([]);
  expect(complaintsAbout(1, JSON.stringify(error), add)).not.toEqual([]);
  expect(complaintsAbout(0, '{}\n', { ...add, command: 'DEL' })).not.toEqual([]);
});

test('responses are told from what is none', () => {
  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}';
  expect(parseResponses(Buffer.from(ok + ok))).toMatchObject({
    responses: [{ body: '{}' }, { body: '{}' }],
    whole: true,
  });
  expect(parseResponses(Buffer.from(ok.slice(0, -1)))).toMatchObject({ responses: [], whole: false });
  const chunked = 'HTTP/1.1 417 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n';
  expect(parseResponses(Buffer.from(chunked + ok))).toMatchObject({
    responses: [{ body: 'ab' }, { body: '{}' }],
  });
  expect(() => parseResponses(Buffer.from(`${ok}trailing\r\n\r\n`))).toThrow('not a status line');
});
