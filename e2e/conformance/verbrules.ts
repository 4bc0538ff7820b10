/** Rules about DEL, CHECK, GC, STATUS and VERSION. */
import type { Rule } from './rule.ts';
import { ALL, except, WITH_CHECK } from './versions.ts';

export const verbRules: readonly Rule[] = [
  {
    id: 'del-gives-back',
    source: 'CNI 1.1.0, section 2, DEL; host-local',
    text: 'DEL gives the addresses of the attachment back, succeeds and prints nothing',
    versions: ALL,
  },
  {
    id: 'del-twice',
    source: 'CNI 1.1.0, section 2, DEL',
    text: 'Plugins accept several DELs of one attachment and succeed',
    versions: ALL,
  },
  {
    id: 'del-of-nothing',
    source: 'CNI 1.1.0, section 2, DEL; host-local, static',
    text: 'DEL of an attachment that never was succeeds',
    versions: ALL,
  },
  {
    id: 'del-without-netns',
    source: 'CNI 1.1.0, section 2, DEL',
    text: 'DEL does not require CNI_NETNS: the namespace may be gone',
  },
  {
    id: 'del-prev-result',
    source: 'CNI 0.4.0 to 1.1.0, DEL',
    text: 'DEL gets the `prevResult` of the ADD, and IPAM plugins do without it as well',
    versions: WITH_CHECK,
  },
  {
    id: 'del-one-interface',
    source: 'CNI 1.1.0, section 3; host-local',
    text: 'DEL of one interface leaves the other interfaces of the container alone',
  },
  {
    id: 'del-parameters',
    source: 'CNI 1.1.0, section 2, DEL',
    text: 'DEL requires CNI_CONTAINERID and CNI_IFNAME; one that is missing is code 4 and named',
  },
  {
    id: 'del-changed-configuration',
    source: 'host-local (`LoadIPAMConfig`)',
    text: 'host-local fails a DEL whose configuration has become invalid',
    differs:
      'DEL succeeds and gives back: it needs `cniVersion`, `ipam.socket` and `ipam.stateDir` alone. A DEL that fails keeps the runtime from removing the pod',
  },
  {
    id: 'del-without-agent',
    source: 'CNI 1.1.0, section 2, DEL',
    text: 'Plugins should complete a DEL even if some resource is missing: the release is queued while the agent is away',
  },
  {
    id: 'del-without-api',
    source: 'CNI 1.1.0, section 2, DEL',
    text: 'Plugins should complete a DEL even if some resource is missing: the release waits in the journal while the API server is away',
  },
  {
    id: 'check-since',
    source: 'CNI 0.4.0, CHECK',
    text: 'Versions before 0.4.0 have no CHECK: code 1',
    versions: except(WITH_CHECK),
  },
  {
    id: 'check-agrees',
    source: 'CNI 0.4.0 to 1.1.0, CHECK',
    text: 'CHECK right after the ADD, with its result as `prevResult`, succeeds and prints nothing',
    versions: WITH_CHECK,
  },
  {
    id: 'check-chain',
    source: 'CNI 1.1.0, section 2, CHECK',
    text: 'A plugin allows for what plugins later in the chain have added to the result',
    versions: WITH_CHECK,
  },
  {
    id: 'check-missing-address',
    source: 'CNI 1.1.0, section 2, CHECK',
    text: 'An address of the attachment that `prevResult` lacks is an error: 106',
    versions: WITH_CHECK,
  },
  {
    id: 'check-unreserved-address',
    source: 'CNI 1.1.0, section 2, CHECK',
    text: "An address of the network's pools that `prevResult` has and that is not reserved for the attachment is an error: 106",
    versions: WITH_CHECK,
  },
  {
    id: 'check-missing-reservation',
    source: 'CNI 1.1.0, section 2, CHECK ("IP reservations"); host-local',
    text: 'A reservation that is gone is an error: 106',
    versions: WITH_CHECK,
  },
  {
    id: 'check-reservation-of-another',
    source: 'CNI 1.1.0, section 2, CHECK ("invalid state")',
    text: "A reservation that is another attachment's by now is an error: 106",
    versions: WITH_CHECK,
  },
  {
    id: 'check-after-del',
    source: 'CNI 1.1.0, section 2, CHECK; host-local',
    text: 'CHECK of what was never added, or is deleted, is an error: 106',
    versions: WITH_CHECK,
  },
  {
    id: 'check-without-prev-result',
    source: 'static',
    text: 'static fails a CHECK without `prevResult`; host-local does not look at it',
    differs:
      'Without it the reservations are still compared with the attachment: they are what Berth answers for',
  },
  {
    id: 'check-parameters',
    source: 'CNI 1.1.0, section 2, CHECK',
    text: 'CHECK requires CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME; one that is missing is code 4 and named',
  },
  {
    id: 'check-without-agent',
    source: 'CNI 1.1.0, section 5, Error',
    text: 'What can not be told now is code 11: CHECK while the agent is away',
  },
  {
    id: 'gc-since',
    source: 'CNI 1.1.0, GC',
    text: 'Versions before 1.1.0 have no GC: code 1',
    versions: except(['1.1.0']),
  },
  {
    id: 'gc-by-reference-plugins',
    source: 'host-local, static',
    text: 'The reference plugins answer GC with success and do nothing',
    differs: 'GC gives back what is stale, as the spec says',
  },
  {
    id: 'gc-listed',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'Attachments in `cni.dev/valid-attachments` are kept, others of the network are given back; nothing is printed',
  },
  {
    id: 'gc-both-keys',
    source: 'libcni (`GCNetworkList`)',
    text: 'libcni also writes `cni.dev/attachments`, as an earlier text of the spec said: what either of them lists is kept',
  },
  {
    id: 'gc-foreign-list',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'Attachments in the list that the plugin does not know change nothing',
  },
  {
    id: 'gc-empty-list',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'An empty list says that no attachment is valid: all of the network are given back',
  },
  {
    id: 'gc-no-list',
    source: 'libcni (`GCNetworkList` without arguments)',
    text: 'A caller may leave the list out, or send null, and mean an empty one',
    differs:
      'Code 7, and nothing is given back: only an explicit list may take addresses away, and no list is more often a mistake than a wish',
  },
  {
    id: 'gc-spares-young',
    source: 'CNI 1.1.0, section 3, Lifecycle',
    text: 'A runtime runs no ADD while it runs GC, so whatever is not in the list is stale',
    differs:
      "What is younger than 10 minutes is kept: not every caller waits, and an ADD in flight is in nobody's list. An address too late is better than a live one given twice",
  },
  {
    id: 'gc-other-networks',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'The list is of one network: attachments of others are kept',
  },
  {
    id: 'gc-no-pod',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'The plugin may remove what is not in the list',
    differs:
      'Addresses whose owner is the node are kept: whoever calls the plugin by itself, like Cilium, is in no list of the runtime',
  },
  {
    id: 'gc-parameters',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'GC requires CNI_PATH; it is code 4 and named',
  },
  {
    id: 'gc-without-agent',
    source: 'CNI 1.1.0, section 5, Error',
    text: 'GC while the agent is away is code 11, and nothing is given back',
  },
  {
    id: 'gc-without-api',
    source: 'CNI 1.1.0, section 2, GC',
    text: 'Plugins should complete a GC without error: the releases wait in the journal while the API server is away',
  },
  {
    id: 'status-since',
    source: 'CNI 1.1.0, STATUS',
    text: 'Versions before 1.1.0 have no STATUS: code 1',
    versions: except(['1.1.0']),
  },
  {
    id: 'status-ready',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A plugin that can serve ADD answers success and prints nothing; no parameter but CNI_COMMAND is required',
  },
  {
    id: 'status-not-available',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A plugin whose daemon is unavailable answers code 50',
  },
  {
    id: 'status-informs-only',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A plugin expects other calls also while STATUS returns an error',
  },
  {
    id: 'status-while-replaced',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A daemon that is away makes STATUS fail',
    differs:
      'Only when it has been away for 60 s: containerd asks every 5 s and turns the node NotReady, and an update replaces the agent within seconds',
  },
  {
    id: 'status-full-pool',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A plugin whose addresses are exhausted should return an error',
    differs:
      'A full pool is no error: it would turn every node NotReady for what concerns the pods of one pool',
  },
  {
    id: 'status-without-api',
    source: 'CNI 1.1.0, section 2, STATUS',
    text: 'A plugin that relies on an unavailable service should return an error',
    differs: 'An API server that is away is no error: the node reports that itself, and ADD says code 11',
  },
  {
    id: 'version-form',
    source: 'CNI 0.2.0 to 1.1.0, VERSION',
    text: 'VERSION prints the `cniVersion` of the input and all `supportedVersions`',
    versions: ALL,
  },
  {
    id: 'version-any-input',
    source: 'libcni (`GetVersionInfo`); host-local, static',
    text: 'VERSION works without input and in a version that the plugin does not speak: it then answers in the newest',
  },
];
