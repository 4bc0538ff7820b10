/** Pods of a large cluster for the operator's benchmark, with the fields and about the size that a real server gives them. */
import { formatAddress } from '../ipam/address.ts';

export const PODS_OF_A_NODE = 110;

/** The uid of the object of this kind and index. */
export const uid = (kind: number, index: number): string =>
  `${kind.toString(16).padStart(8, '0')}-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;

export const namespaceOf = (index: number): string => `team-${index % 100}-production`;
export const podName = (index: number): string =>
  `web-frontend-7d9c5f6b8-${index.toString(36).padStart(5, '0')}`;
export const nodeName = (index: number): string => `worker-${index}.eu-central.example.internal`;

const at = '2026-01-01T00:00:00Z';

/** A pod of one container as kubelet and scheduler leave it: about 3 KB. */
export function pod(index: number): object {
  const condition = (type: string): object => ({
    type,
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: at,
  });
  const ip = formatAddress({ family: 4, value: 0x0a000001n + BigInt(index) });
  return {
    metadata: podMetadata(index),
    spec: podSpec(index),
    status: {
      phase: 'Running',
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(condition),
      hostIP: '192.168.0.1',
      podIP: ip,
      podIPs: [{ ip }],
      startTime: at,
      containerStatuses: [
        {
          name: 'web',
          ready: true,
          restartCount: 0,
          image: 'registry.example.com/shop/web:1.2.3',
          state: { running: { startedAt: at } },
        },
      ],
      qosClass: 'Burstable',
    },
  };
}

function podMetadata(index: number): object {
  return {
    name: podName(index),
    generateName: 'web-frontend-7d9c5f6b8-',
    namespace: namespaceOf(index),
    uid: uid(2, index),
    resourceVersion: '1',
    creationTimestamp: at,
    labels: { app: 'web-frontend', 'pod-template-hash': '7d9c5f6b8', 'app.kubernetes.io/part-of': 'shop' },
    ownerReferences: [
      {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        name: 'web-frontend-7d9c5f6b8',
        uid: uid(7, 1),
        controller: true,
      },
    ],
    managedFields: [
      {
        manager: 'kube-controller-manager',
        operation: 'Update',
        apiVersion: 'v1',
        time: at,
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': {
            'f:generateName': {},
            'f:labels': { '.': {}, 'f:app': {}, 'f:pod-template-hash': {} },
            'f:ownerReferences': { '.': {} },
          },
          'f:spec': {
            'f:containers': {
              'k:{"name":"web"}': {
                '.': {},
                'f:image': {},
                'f:imagePullPolicy': {},
                'f:name': {},
                'f:resources': {},
              },
            },
            'f:dnsPolicy': {},
            'f:restartPolicy': {},
          },
        },
      },
      {
        manager: 'kubelet',
        operation: 'Update',
        apiVersion: 'v1',
        time: at,
        fieldsType: 'FieldsV1',
        subresource: 'status',
        fieldsV1: {
          'f:status': {
            'f:conditions': { 'k:{"type":"Ready"}': { '.': {}, 'f:status': {}, 'f:type': {} } },
            'f:containerStatuses': {},
            'f:hostIP': {},
            'f:phase': {},
            'f:podIP': {},
          },
        },
      },
    ],
  };
}

function podSpec(index: number): object {
  return {
    nodeName: nodeName(Math.floor(index / PODS_OF_A_NODE)),
    containers: [
      {
        name: 'web',
        image: 'registry.example.com/shop/web:1.2.3',
        env: [{ name: 'A', value: 'b' }],
        resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
        volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets', readOnly: true }],
        imagePullPolicy: 'IfNotPresent',
      },
    ],
    volumes: [
      {
        name: 'token',
        projected: { sources: [{ serviceAccountToken: { expirationSeconds: 3607, path: 'token' } }] },
      },
    ],
    serviceAccountName: 'default',
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    tolerations: [
      {
        key: 'node.kubernetes.io/not-ready',
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 300,
      },
    ],
  };
}
