/** Label selectors with Kubernetes' semantics (meta/v1 LabelSelector, labels.Requirement.Matches). */

/** One condition on one label. */
export interface LabelSelectorRequirement {
  readonly key: string;
  /** In and NotIn look at `values`; NotIn and DoesNotExist also match where the label is absent. */
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values?: readonly string[];
}

/** All conditions must hold. One without conditions selects everything. */
export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly LabelSelectorRequirement[];
}

/** True if the labels meet every condition; an absent selector selects everything. */
export function matchesSelector(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return requirements(selector).every((requirement) => meets(requirement, labels));
}

/** The selector in kubectl's notation, `zone in (a,b),disk=ssd,!old`; "" if it selects everything. */
export function formatSelector(selector: LabelSelector | undefined): string {
  return requirements(selector).map(formatRequirement).join(',');
}

function requirements(selector: LabelSelector | undefined): LabelSelectorRequirement[] {
  const fromLabels = Object.entries(selector?.matchLabels ?? {}).map(
    ([key, value]): LabelSelectorRequirement => ({ key, operator: 'In', values: [value] }),
  );
  return [...fromLabels, ...(selector?.matchExpressions ?? [])];
}

function meets(requirement: LabelSelectorRequirement, labels: Readonly<Record<string, string>>): boolean {
  // Own properties only: a label named "constructor" is absent unless somebody set it.
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  const values = requirement.values ?? [];
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

function formatRequirement({ key, operator, values = [] }: LabelSelectorRequirement): string {
  switch (operator) {
    case 'In':
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(',')})`;
    case 'NotIn':
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${values.join(',')})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
  }
}
