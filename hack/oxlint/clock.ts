/**
 * The lint rule `berth/clock`: time and randomness come in as `Clock` and `Random` (kube/clock.ts) or as plain
 * arguments, so that tests and the simulation own them. Reading the machine's clock, setting a timer or rolling
 * a die anywhere else is an error.
 *
 * `new Date(milliseconds)` stays allowed: it only formats.
 */

/** The few parts of an ESTree node that the rule reads. */
interface Node {
  readonly type: string;
  readonly name?: string;
  readonly object?: Node;
  readonly property?: Node;
  readonly callee?: Node;
  readonly arguments?: readonly Node[];
}

interface Context {
  report(finding: { readonly node: Node; readonly message: string }): void;
}

const TIMERS = new Set(['setTimeout', 'setInterval', 'setImmediate']);
const READINGS: ReadonlyMap<string, string> = new Map([
  ['Date.now', 'Clock.now()'],
  ['performance.now', 'Clock.monotonic()'],
  ['process.hrtime', 'Clock.monotonic()'],
  ['Math.random', 'a Random argument'],
  ['crypto.randomInt', 'a Random argument'],
]);

/** Where the rule objects to a call or construction, the sentence that says so. */
export function objection(node: Node): string | undefined {
  const callee = node.callee;
  if (callee === undefined) return undefined;
  if (callee.type === 'Identifier' && callee.name === 'Date' && (node.arguments ?? []).length === 0) {
    return 'the current date is read here: take a Clock (kube/clock.ts) or a time argument instead';
  }
  if (callee.type === 'Identifier' && TIMERS.has(callee.name ?? '')) {
    return `${callee.name} is called here: use Clock.sleep() or Clock.after() of kube/clock.ts`;
  }
  return undefined;
}

/** The objection to reading a member such as `Date.now`, called or passed on. */
export function memberObjection(node: Node): string | undefined {
  if (node.object?.type !== 'Identifier' || node.property?.type !== 'Identifier') return undefined;
  const path = `${node.object.name}.${node.property.name}`;
  const cure = READINGS.get(path);
  return cure === undefined ? undefined : `${path} is used here: use ${cure} instead (kube/clock.ts)`;
}

function visitorFor(context: Context): Record<string, (node: Node) => void> {
  const visit =
    (judge: (node: Node) => string | undefined) =>
    (node: Node): void => {
      const message = judge(node);
      if (message !== undefined) context.report({ node, message });
    };
  return {
    CallExpression: visit(objection),
    NewExpression: visit(objection),
    MemberExpression: visit(memberObjection),
  };
}

const plugin: {
  readonly meta: { readonly name: string };
  readonly rules: { readonly clock: { create(context: Context): Record<string, (node: Node) => void> } };
} = { meta: { name: 'berth' }, rules: { clock: { create: visitorFor } } };

export default plugin;
