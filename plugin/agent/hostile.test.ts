/** What users write into annotations, CNI_ARGS and network configurations stays a quotation. */
import { describe, expect, test } from 'vitest';
import { createLog } from '../../process/log.ts';
import { type CallShape, World } from './testing/world.ts';

const TEXTS: readonly string[] = [
  'a"b\\c',
  'a\nb\r\nmsg: all is well',
  '{"net1": "x\\ny"}',
  '{"net1": ["\\u202ex", "\\u2028\\u001b[2J"]}',
  '{"a\nb',
  '\u001b[31mred\u001b[0m\u0007\u009b2J\u0000\u007f',
  'left\u202eright\u2066\u200f\u061c\u2028line\u2029',
  '%s%d%j ${x} {{.}} <script>',
  '\ud800 and \udfff',
  `"}\n{"code":0}\n`,
  '../../etc/passwd',
  'x'.repeat(3000),
];

/** Where a text can come from. */
const PLACES: readonly [string, (text: string) => CallShape & { annotations?: Record<string, string> }][] = [
  ["the pod's pools", (text) => ({ annotations: { 'ipam.berth.dev/pools': text } })],
  ["the pod's ips", (text) => ({ annotations: { 'ipam.berth.dev/ips': text } })],
  ['ipam.pools', (text) => ({ ipam: { pools: [text, 'v4'] } })],
  ['ipam.network', (text) => ({ ipam: { network: text } })],
  ['an unknown key of ipam', (text) => ({ ipam: { [text]: 1 } })],
  ['args.cni.pools', (text) => ({ config: { args: { cni: { pools: text } } } })],
  ['args.cni.ips', (text) => ({ config: { args: { cni: { ips: [text] } } } })],
  ['runtimeConfig.ips', (text) => ({ config: { runtimeConfig: { ips: [text] } } })],
  ['IP of CNI_ARGS', (text) => ({ args: `IP=${text}` })],
  ['CNI_ARGS', (text) => ({ args: text })],
  ['the name of the pod', (text) => ({ pod: text, uid: 'u' })],
  ['the UID of the pod', (text) => ({ uid: text })],
  ['the interface', (text) => ({ ifname: text })],
  ['the container', (text) => ({ container: text })],
  ['the name of the network configuration', (text) => ({ name: text, ipam: { pools: ['no'] } })],
  ['cniVersion', (text) => ({ cniVersion: text })],
];

describe.each(PLACES)('in %s', (_place, shapeOf) => {
  test.each(TEXTS)('%j is a quotation in the one line of the answer and of the log', async (text) => {
    const world = new World();
    await using _ = world;
    world.pool('v4', { subnet: '10.0.0.0/24' });
    const node = world.node();
    const { annotations, ...shape } = shapeOf(text);
    await world.pod('web', { ...(annotations !== undefined && { annotations }) });
    const lines: string[] = [];
    const log = createLog({ level: 'debug', name: 'test' }, { write: (line) => lines.push(line) });

    const { exitCode, stdout } = await world.finish(node.parts.handler.handle(world.request('ADD', shape)));

    expect(stdout).toMatch(/^\{.*\}\n$/);
    // A CNI result or error.
    const answer = JSON.parse(stdout) as Record<string, unknown>;
    if (exitCode === 0) {
      expect(answer).toHaveProperty('ips');
    } else {
      expect(answer).toMatchObject({ code: expect.any(Number), msg: expect.stringMatching(/./) });
      expect(answer['msg']).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
      expect(answer['msg']).toHaveProperty(
        'length',
        expect.toSatisfy((length: number) => length <= 1024),
      );
      const details = typeof answer['details'] === 'string' ? answer['details'].split('\n') : [];
      for (const line of details) expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
      // No line of the details is made of what the user wrote.
      expect(details).not.toContain('msg: all is well');
    }
    for (const { fields, message } of world.lines) log.warn(fields, message);
    for (const line of lines) {
      expect(line).toMatch(/^\{.*\}\n$/);
      expect(line.trimEnd()).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
      expect(JSON.parse(line)).toHaveProperty('msg');
    }
    expect(lines.length).toBe(world.lines.length);
  });
});
