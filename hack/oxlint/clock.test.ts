import { describe, expect, test } from 'vitest';
import { memberObjection, objection } from './clock.ts';

const identifier = (name: string): { type: string; name: string } => ({ type: 'Identifier', name });

describe('berth/clock', () => {
  test.each(['setTimeout', 'setInterval', 'setImmediate'])('objects to a call of %s', (name) => {
    const node = { type: 'CallExpression', callee: identifier(name), arguments: [identifier('run')] };
    expect(objection(node)).toContain(`${name} is called here`);
  });

  test('objects to the current date, not to formatting a given time', () => {
    const date = (...args: { type: string; name: string }[]): string | undefined =>
      objection({ type: 'NewExpression', callee: identifier('Date'), arguments: args });
    expect(date()).toContain('current date');
    expect(date(identifier('ms'))).toBeUndefined();
  });

  test.each([
    ['Date', 'now'],
    ['performance', 'now'],
    ['Math', 'random'],
    ['process', 'hrtime'],
  ])('objects to %s.%s and names the cure', (object, property) => {
    const node = { type: 'MemberExpression', object: identifier(object), property: identifier(property) };
    expect(memberObjection(node)).toMatch(new RegExp(`${object}\\.${property} .*kube/clock\\.ts`));
  });

  test('has nothing against other members and calls', () => {
    const node = { type: 'MemberExpression', object: identifier('Math'), property: identifier('max') };
    expect(memberObjection(node)).toBeUndefined();
    expect(
      objection({ type: 'CallExpression', callee: identifier('clearTimeout'), arguments: [] }),
    ).toBeUndefined();
  });
});
