/**
 * Field and label selectors in the text form of the API's query strings, for the in-memory API.
 *
 * Pure. Source: Kubernetes documentation, "Field Selectors" and "Labels and Selectors".
 */

/** A selector that cannot be read, or names a field that cannot be selected. */
export class SelectorError extends Error {
  override readonly name = 'SelectorError';
}

export type FieldTest = (valueOf: (path: string) => string) => boolean;
export type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

/**
 * `spec.pool=a,spec.state!=Held`. A field that is not set has the value "".
 * @throws SelectorError for a field that is not in `selectable`, or text without an operator.
 */
export function parseFieldSelector(selector: string, selectable: readonly string[]): FieldTest {
  const terms = selector
    .split(',')
    .filter((term) => term !== '')
    .map((term) => {
      const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term);
      if (match === null) throw new SelectorError(`invalid selector: '${term}'; can't understand it`);
      const [, path = '', operator = '', value = ''] = match;
      if (!selectable.includes(path)) throw new SelectorError(`field label not supported: ${path}`);
      return { path, wanted: operator !== '!=', value };
    });
  return (valueOf) => terms.every(({ path, wanted, value }) => (valueOf(path) === value) === wanted);
}

function labelTerm(term: string): LabelTest {
  const set = /^\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*$/.exec(term);
  if (set !== null) {
    const [, key = '', operator = '', list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    const wanted = operator === 'in';
    return (labels) => {
      const value = labels[key];
      return value === undefined ? !wanted : values.includes(value) === wanted;
    };
  }
  const equal = /^\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s,()]*)\s*$/.exec(term);
  if (equal !== null) {
    const [, key = '', operator = '', value = ''] = equal;
    return (labels) => (labels[key] === value) === (operator !== '!=');
  }
  const exists = /^\s*(!?)([^\s!=,()]+)\s*$/.exec(term);
  if (exists === null) throw new SelectorError(`unable to parse requirement: '${term}'`);
  const [, not = '', key = ''] = exists;
  return (labels) => Object.hasOwn(labels, key) === (not === '');
}

/**
 * `app=web,tier in (a, b),!canary`.
 * @throws SelectorError for text that is no selector.
 */
export function parseLabelSelector(selector: string): LabelTest {
  // Commas inside parentheses separate values, not requirements.
  const terms = selector.split(/,(?![^(]*\))/).filter((term) => term.trim() !== '');
  const tests = terms.map(labelTerm);
  return (labels) => tests.every((test) => test(labels));
}
