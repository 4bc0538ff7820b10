/**
 * The annotations of pods and namespaces that say something of addresses (docs/cni.md).
 *
 * Everything read here was written by users: it is compared and quoted, never used as a path, selector or format.
 */
import { AnnotationError, messageOf } from './errors.ts';

export const POOLS_ANNOTATION = 'ipam.berth.dev/pools';
export const IPS_ANNOTATION = 'ipam.berth.dev/ips';
/** Written by the agent where `ipam.annotatePod` asks for it. */
export const ADDRESSES_ANNOTATION = 'ipam.berth.dev/addresses';

/** What an annotation says of one interface. */
export interface Said {
  /** How an error message calls it: `annotation ipam.berth.dev/pools of pod shop/web`. */
  readonly from: string;
  /** undefined where it says nothing of this interface; never empty. */
  readonly items: string[] | undefined;
  /** How to write it for this interface alone, where it now holds for all. */
  readonly byInterface?: string;
}

/** The items of a comma list; what is empty counts as absent. */
export function splitList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function malformed(annotation: string, why: string): AnnotationError {
  return new AnnotationError(
    `${annotation} is malformed: ${why}`,
    'write a comma list, "a,b", or JSON by interface, {"net1": ["a", "b"]}',
  );
}

/** The JSON form. */
function byInterface(annotation: string, text: string): Map<string, string[]> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw malformed(annotation, messageOf(error));
  }
  const entries = new Map<string, string[]>();
  for (const [key, value] of new Map<string, unknown>(Object.entries(parsed ?? {}))) {
    const items: unknown[] = Array.isArray(value) ? value : [value];
    const texts = items.filter((item) => typeof item === 'string');
    if (texts.length < items.length) {
      throw malformed(
        annotation,
        `the value of ${JSON.stringify(key)} is neither a string nor a list of strings`,
      );
    }
    entries.set(key, texts.flatMap(splitList));
  }
  return entries;
}

/**
 * An annotation's value for one interface, in either form: a comma list for all, or JSON by ifname or cniNetwork.
 * @param from how an error message calls it
 * @throws CniError 7 that names the annotation
 */
export function annotationFor(
  from: string,
  value: string | undefined,
  ifname: string,
  cniNetwork: string,
): Said {
  const trimmed = value?.trim() ?? '';
  if (trimmed === '') return { from, items: undefined };
  if (/^["[]/.test(trimmed)) {
    throw malformed(from, 'JSON that is no object');
  }
  if (trimmed.startsWith('{')) {
    const entries = byInterface(from, trimmed);
    // Empty counts as absent, so the next key is asked.
    const items = [ifname, cniNetwork].map((key) => entries.get(key) ?? []).find((list) => list.length > 0);
    return { from, items };
  }
  const items = splitList(trimmed);
  return items.length === 0
    ? { from, items: undefined }
    : { from, items, byInterface: JSON.stringify({ [ifname]: items }) };
}

/** Where something was said, for the details of an error: and how to say it for one interface alone. */
export function whereSaid(verb: string, { from, byInterface: form }: Omit<Said, 'items'>): string[] {
  return [
    `${verb} by ${from}`,
    ...(form === undefined ? [] : [`it holds for every interface; for one alone write ${form}`]),
  ];
}
