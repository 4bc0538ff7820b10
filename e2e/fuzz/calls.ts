/** Calls of the plugin: most are right but for one thing, as only those come past the first check. */
import fc from 'fast-check';
import { SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';
import type { CallInput } from './input.ts';
import { nasty, oddValue, seldom, sometimes } from './values.ts';

/** The pools of the world (world.ts). */
const POOLS: readonly string[] = ['v4', 'v6', 'tiny', 'denied', 'static', 'resting'];

const poolName: fc.Arbitrary<string> = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('v4', 'v6', 'resting') },
  { weight: 3, arbitrary: fc.constantFrom(...POOLS) },
  { weight: 1, arbitrary: fc.constantFrom('missing') },
  { weight: 1, arbitrary: nasty },
);
const poolNames = fc.array(poolName, { minLength: 1, maxLength: 3 });

const address: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 60_000 }).map((n) => `10.0.${n >> 8}.${n & 255}`) },
  { weight: 3, arbitrary: fc.nat({ max: 60_000 }).map((n) => `fd00::${n.toString(16)}`) },
  { weight: 2, arbitrary: fc.nat({ max: 60_000 }).map((n) => `10.0.${n >> 8}.${n & 255}/16`) },
  { weight: 1, arbitrary: fc.constantFrom('10.0.0.0', '10.0.0.1', '10.0.0.5', '10.0.255.255', '10.0.9.9/8') },
  { weight: 1, arbitrary: fc.oneof(fc.ipV4(), fc.ipV6(), nasty) },
);
const addresses = fc.array(address, { minLength: 1, maxLength: 3 });

const attachment = fc.record({
  containerID: fc.oneof(fc.constantFrom('c1', 'c2'), nasty),
  ifname: fc.oneof(fc.constantFrom('eth0', 'net1'), nasty),
});

const prevResult = fc.oneof(
  fc.record({
    cniVersion: fc.constantFrom(...SUPPORTED_VERSIONS),
    ips: fc.array(fc.record({ address: address.map((a) => `${a}/16`) }), { maxLength: 3 }),
  }),
  fc.dictionary(nasty, fc.jsonValue({ maxDepth: 2 })),
);

/** A configuration that most runtimes could have written. */
const config = fc.record({
  cniVersion: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...SUPPORTED_VERSIONS, '1.1.0', '1.1.0', '1.1.0') },
    { weight: 1, arbitrary: fc.constantFrom('9.9.9', '1.2.0', '0.3', undefined) },
  ),
  name: fc.constantFrom('storage', 'fabric'),
  type: fc.constant('macvlan'),
  ipam: fc.record({
    type: fc.constant('berth'),
    socket: fc.constant('$SOCKET'),
    stateDir: fc.constant('$STATE'),
    pools: sometimes(poolNames, 2),
    network: seldom(fc.constantFrom('default', 'default', 'other'), 4),
    annotatePod: seldom(fc.boolean(), 6),
  }),
  args: seldom(
    fc.record({
      cni: fc.record({
        pools: seldom(fc.oneof(poolNames, poolNames.map(String)), 3),
        ips: seldom(addresses, 3),
      }),
    }),
    6,
  ),
  runtimeConfig: seldom(fc.record({ ips: seldom(addresses, 2) }), 6),
  prevResult: seldom(prevResult, 8),
  'cni.dev/valid-attachments': seldom(fc.array(attachment, { maxLength: 3 }), 6),
  'cni.dev/attachments': seldom(fc.array(attachment, { maxLength: 2 }), 10),
});

/** Replaces one value somewhere inside. */
function disturbed(json: unknown, path: readonly number[], value: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof json !== 'object' || json === null) return value;
  const entries = Object.entries(json);
  const [key] = entries[step % Math.max(1, entries.length)] ?? [];
  if (key === undefined) return value;
  const changed = entries.map(([k, v]): [string, unknown] => [k, k === key ? disturbed(v, rest, value) : v]);
  return Array.isArray(json) ? changed.map(([, v]) => v) : Object.fromEntries(changed);
}

export const validText: fc.Arbitrary<string> = config.map((json) => JSON.stringify(json));

const disturbedText = fc
  .tuple(config, fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 4 }), oddValue)
  .map(([json, path, value]) => JSON.stringify(disturbed(json, path, value)) ?? '');

const extendedText = fc
  .tuple(config, nasty, oddValue, fc.boolean())
  .map(([json, key, value, inside]) =>
    JSON.stringify(inside ? { ...json, ipam: { ...json.ipam, [key]: value } } : { ...json, [key]: value }),
  );

/** Characters lost, doubled or put in. */
const brokenText = fc
  .tuple(
    validText,
    fc.nat(),
    fc.nat({ max: 30 }),
    fc.oneof(nasty, fc.constantFrom('"', '}', '{', ',', '[', '\\u')),
  )
  .map(([text, at, length, more]) => {
    const start = at % (text.length + 1);
    return text.slice(0, start) + more + text.slice(start + length);
  });

const strangeText = fc.oneof(
  nasty,
  fc.json({ maxDepth: 6 }),
  fc.nat({ max: 5_000 }).map((depth) => '['.repeat(depth)),
  fc
    .nat({ max: 5_000 })
    .map((depth) => `{"cniVersion":"1.1.0","name":"x","ipam":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`),
  validText.map((text) => text.replace('"ipam"', '"ipam":{"type":"x"},"ipam"')),
  validText.map((text) => `\ufeff${text}`),
  fc.tuple(validText, fc.nat({ max: 200_000 })).map(([text, n]) => text + ' '.repeat(n)),
);

const stdin = fc.oneof(
  { weight: 60, arbitrary: validText },
  { weight: 12, arbitrary: disturbedText },
  { weight: 6, arbitrary: extendedText },
  { weight: 6, arbitrary: brokenText },
  { weight: 3, arbitrary: strangeText },
);

const command = fc.oneof(
  { weight: 80, arbitrary: fc.constant('ADD') },
  { weight: 12, arbitrary: fc.constantFrom('DEL', 'CHECK', 'GC', 'STATUS', 'VERSION') },
  { weight: 1, arbitrary: nasty },
);

const KNOWN_POD = 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=$POD';

const cniArgs = fc.oneof(
  { weight: 30, arbitrary: fc.constant(`IgnoreUnknown=1;${KNOWN_POD};K8S_POD_UID=$UID`) },
  { weight: 5, arbitrary: fc.constant('') },
  { weight: 3, arbitrary: fc.constant(KNOWN_POD) },
  { weight: 4, arbitrary: addresses.map((list) => `${KNOWN_POD};K8S_POD_UID=$UID;IP=${list.join(',')}`) },
  { weight: 1, arbitrary: nasty },
  { weight: 1, arbitrary: fc.array(nasty, { maxLength: 6 }).map((items) => items.join(';')) },
  { weight: 1, arbitrary: fc.tuple(nasty, nasty).map(([key, value]) => `${KNOWN_POD};${key}=${value}`) },
  {
    weight: 1,
    arbitrary: nasty.map((name) => `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name};K8S_POD_UID=$UID`),
  },
  { weight: 1, arbitrary: nasty.map((name) => `K8S_POD_NAMESPACE=${name};K8S_POD_NAME=$POD`) },
  { weight: 1, arbitrary: nasty.map((uid) => `${KNOWN_POD};K8S_POD_UID=${uid}`) },
);

const env = fc
  .record({
    CNI_CONTAINERID: fc.oneof({ weight: 30, arbitrary: fc.constant('$ID') }, { weight: 1, arbitrary: nasty }),
    CNI_IFNAME: fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom('eth0', 'net1') },
      { weight: 1, arbitrary: nasty },
    ),
    CNI_NETNS: fc.oneof(
      { weight: 30, arbitrary: fc.constant('/run/netns/x') },
      { weight: 1, arbitrary: nasty },
    ),
    CNI_PATH: fc.constant('/opt/cni/bin'),
    CNI_ARGS: cniArgs,
    CNI_EXTRA: seldom(nasty, 20),
  })
  .map(
    (all) =>
      Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as CallInput['env'],
  );

/** What somebody may write into an annotation of Berth. */
function annotation(item: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const list = fc.array(item, { minLength: 1, maxLength: 3 });
  const keys = fc.constantFrom('eth0', 'net1', 'storage', 'fabric', '__proto__', '');
  return fc.oneof(
    { weight: 4, arbitrary: list.map((items) => items.join(',')) },
    { weight: 4, arbitrary: fc.dictionary(keys, fc.oneof(list, item)).map((json) => JSON.stringify(json)) },
    { weight: 2, arbitrary: fc.dictionary(keys, oddValue).map((json) => JSON.stringify(json)) },
    { weight: 1, arbitrary: fc.oneof(nasty, fc.json()) },
  );
}

const annotations = fc
  .record({
    'ipam.berth.dev/pools': sometimes(annotation(poolName), 3),
    'ipam.berth.dev/ips': seldom(annotation(address), 3),
  })
  // JSON has no undefined.
  .map((all) => JSON.parse(JSON.stringify(all)) as Record<string, string>);

/** An environment variable ends at its first NUL, and none of a process has half a surrogate. */
function forProcess(text: string): string {
  return text.replaceAll('\0', '').toWellFormed();
}

function viaBinary(input: CallInput): CallInput {
  const clean = Object.fromEntries(Object.entries(input.env).map(([k, v]) => [k, forProcess(v)]));
  return { ...input, via: 'binary', command: forProcess(input.command), env: clean };
}

/** @param binaryShare one of so many calls goes through the compiled binary */
export function call(binaryShare: number): fc.Arbitrary<CallInput> {
  const plain = fc.tuple(command, env, stdin).map(
    ([verb, vars, text]): CallInput => ({
      kind: 'call',
      via: 'socket',
      command: verb,
      env: vars,
      stdin: text,
    }),
  );
  const annotated = fc.tuple(annotations, validText, fc.constantFrom('eth0', 'net1')).map(
    ([own, text, ifname]): CallInput => ({
      kind: 'call',
      via: 'socket',
      command: 'ADD',
      // Without a UID the agent asks the API: a watch might not have shown the annotation yet.
      env: { CNI_CONTAINERID: '$ID', CNI_IFNAME: ifname, CNI_NETNS: '/run/netns/x', CNI_ARGS: KNOWN_POD },
      stdin: text,
      annotations: own,
    }),
  );
  const throughBinary = fc.oneof(
    { weight: 9, arbitrary: plain.map(viaBinary) },
    {
      weight: 1,
      arbitrary: fc.tuple(plain, fc.uint8Array({ maxLength: 200 })).map(
        ([input, bytes]): CallInput => ({
          ...viaBinary(input),
          bytes: true,
          stdin: Buffer.from(bytes).toString('latin1'),
        }),
      ),
    },
  );
  return fc.oneof(
    { weight: 8 * binaryShare, arbitrary: plain },
    { weight: 1 * binaryShare, arbitrary: annotated },
    { weight: 9, arbitrary: throughBinary },
  );
}
