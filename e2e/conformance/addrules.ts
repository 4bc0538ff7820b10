/** Rules about the configuration, the parameters, errors, ADD and its result. */
import type { Rule } from './rule.ts';
import { ALL, except, OLDEST, RECENT, WITH_FAMILY } from './versions.ts';

export const addRules: readonly Rule[] = [
  {
    id: 'config-foreign-keys',
    source: 'CNI 1.1.0, sections 1 and 4',
    text: 'A delegated plugin gets the whole configuration of its main plugin; keys that belong to others are tolerated',
  },
  {
    id: 'config-name',
    source: 'CNI 1.1.0, section 1; libcni',
    text: '`name` is required: letters, digits, `_`, `.` and `-`, beginning with a letter or digit; else code 7',
  },
  {
    id: 'config-implied-version',
    source: 'libcni (`create.DecodeVersion`)',
    text: 'A configuration without `cniVersion` is of version 0.1.0, and so is its result',
  },
  {
    id: 'config-unknown-version',
    source: 'CNI 1.1.0, section 5, Error',
    text: 'A version that the plugin does not speak is code 1',
  },
  {
    id: 'config-not-decodable',
    source: 'CNI 1.1.0, section 5, Error',
    text: 'Input that is no JSON object is code 6',
  },
  {
    id: 'config-unknown-ipam-key',
    source: 'CNI 1.1.0, section 1, Other keys',
    text: 'A plugin may refuse unknown fields of its own section: code 7 that names the field',
  },
  {
    id: 'config-unsupported-field',
    source: 'CNI 1.1.0, section 5, Error; CNI conventions, capabilities',
    text: 'A field that the plugin can not act on is code 2, and the message has its key and value',
  },
  {
    id: 'parameters-required',
    source: 'CNI 1.1.0, section 2, ADD',
    text: 'ADD requires CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME; one that is missing is code 4 and named',
  },
  {
    id: 'parameters-malformed',
    source: 'CNI 1.1.0, section 2, Parameters; libcni',
    text: 'A malformed CNI_CONTAINERID or CNI_IFNAME and an unknown CNI_COMMAND are code 4 and named',
  },
  {
    id: 'parameters-args',
    source: 'CNI 1.1.0, section 2, Parameters',
    text: 'CNI_ARGS are pairs `KEY=VALUE` separated by semicolons; anything else is code 4',
  },
  {
    id: 'parameters-cni-path',
    source: 'host-local, static (`skel`)',
    text: 'The reference plugins demand CNI_PATH for ADD, CHECK, DEL, GC and STATUS',
    differs: 'Only GC demands it, as the spec says: Berth delegates to nobody, and looks for no other plugin',
  },
  {
    id: 'parameters-netns',
    source: 'host-local, static (`skel`)',
    text: 'The reference plugins refuse a CNI_NETNS that is the namespace of the caller, unless CNI_NETNS_OVERRIDE is set',
    differs:
      'CNI_NETNS is never opened: addresses do not depend on it, and Cilium asks for addresses of the host',
  },
  {
    id: 'parameters-no-command',
    source: 'host-local, static (`skel`)',
    text: 'Called without CNI_COMMAND, the reference plugins describe themselves and succeed',
    differs:
      'Only on a terminal; else it is code 4: a caller that forgets the command must not take it for a success',
  },
  {
    id: 'error-form',
    source: 'CNI 0.1.0 to 1.1.0, Error',
    text: 'A failure exits non-zero and prints `cniVersion` (that of the configuration), `code`, `msg` and `details`',
    versions: ALL,
  },
  {
    id: 'error-round-trip',
    source: 'libcni (`types.Error`)',
    text: 'A main plugin decodes the error with the CNI library and hands it on unchanged',
    versions: ALL,
  },
  {
    id: 'error-without-version',
    source: 'host-local, static (`types.Error`)',
    text: 'Errors of the reference plugins have no `cniVersion`, and nearly all have code 999',
    differs:
      'Errors have the `cniVersion` that the spec asks for, and a code that says what can be done about it',
  },
  {
    id: 'result-same-version',
    source: 'CNI 0.1.0 to 1.1.0, Result',
    text: 'The result has the `cniVersion` of the configuration',
    versions: ALL,
  },
  {
    id: 'result-abbreviated',
    source: 'CNI 1.1.0, section 5, Delegated plugins (IPAM)',
    text: 'The result of an IPAM plugin has no `interfaces`, and its addresses no `interface`',
    versions: ALL,
  },
  {
    id: 'result-ip4-ip6',
    source: 'CNI 0.1.0 and 0.2.0, Result',
    text: 'The result has `ip4` and `ip6`, each with `ip`, `gateway` and the `routes` of its family',
    versions: OLDEST,
  },
  {
    id: 'result-ips-with-family',
    source: 'CNI 0.3.0 to 0.4.0, Result',
    text: 'The result has `ips`, each with `version` ("4" or "6"), `address` and `gateway`, and one list of `routes`',
    versions: WITH_FAMILY,
  },
  {
    id: 'result-ips',
    source: 'CNI 1.0.0 and 1.1.0, section 5',
    text: 'The result has `ips`, each with `address` and `gateway` and without `version`, and one list of `routes`',
    versions: RECENT,
  },
  {
    id: 'result-route-fields',
    source: 'CNI 1.1.0, section 5, ADD Success',
    text: 'A route may have `mtu`, `advmss`, `priority`, `table` and `scope`',
    versions: ['1.1.0'],
  },
  {
    id: 'result-short-routes',
    source: 'CNI 0.1.0 to 1.0.0, Result',
    text: 'A route has `dst` and `gw`, and nothing else',
    versions: except(['1.1.0']),
  },
  {
    id: 'result-dns',
    source: 'CNI 0.1.0 to 1.1.0, Result',
    text: '`dns` has `nameservers`, `domain`, `search` and `options`',
    versions: ALL,
  },
  {
    id: 'result-one-of-each-family',
    source: 'CNI 0.1.0 and 0.2.0, Result; host-local, static',
    text: 'These versions have room for one address of each family; two of one are an error, and none is kept',
    versions: OLDEST,
  },
  {
    id: 'result-several-of-one-family',
    source: 'CNI 0.3.0 to 1.1.0, Result',
    text: 'Several addresses of one family are all in the result, in the order of the request',
    versions: except(OLDEST),
  },
  {
    id: 'result-round-trip',
    source: 'libcni (`types/create`)',
    text: 'The CNI library decodes the result as one of its version, and prints the same again',
    versions: ALL,
  },
  {
    id: 'add-prev-result',
    source: 'CNI 1.1.0, sections 2 and 4',
    text: 'Called on behalf of a plugin later in a chain, an IPAM plugin answers its own addresses; the caller merges',
  },
  {
    id: 'add-concurrently',
    source: 'CNI 1.1.0, section 3, Lifecycle',
    text: 'Plugins handle being called for different containers at the same time: no address is given twice',
  },
  {
    id: 'add-several-interfaces',
    source: 'CNI 1.1.0, section 2, ADD',
    text: 'A container may be added to a network more than once, each time with another interface name',
  },
  {
    id: 'add-twice',
    source: 'CNI 1.1.0, section 2, ADD; host-local',
    text: 'A runtime should not repeat an ADD without a DEL between; host-local refuses it ("duplicate allocation")',
    versions: ALL,
    differs:
      'The same attachment gets the same answer, and nothing is written: a runtime whose call timed out, and Cilium at each start, repeat it and need the address',
  },
  {
    id: 'add-failed',
    source: 'CNI 1.1.0, sections 3 and 4',
    text: 'An ADD that fails is followed by a DEL, which succeeds; nothing is left behind',
  },
];
