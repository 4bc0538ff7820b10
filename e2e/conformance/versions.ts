/** The versions of the CNI spec, grouped by what a rule may depend on. */
import { SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';

export const ALL: readonly string[] = SUPPORTED_VERSIONS;
/** `ip4` and `ip6`, one address of each. */
export const OLDEST: readonly string[] = ['0.1.0', '0.2.0'];
/** `ips` whose entries say their family in `version`. */
export const WITH_FAMILY: readonly string[] = ['0.3.0', '0.3.1', '0.4.0'];
/** `ips` as it is now. */
export const RECENT: readonly string[] = ['1.0.0', '1.1.0'];
/** With the verb CHECK. */
export const WITH_CHECK: readonly string[] = ['0.4.0', '1.0.0', '1.1.0'];

/** All but these. */
export function except(versions: readonly string[]): string[] {
  return ALL.filter((version) => !versions.includes(version));
}
