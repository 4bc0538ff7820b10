import { expect, test } from 'vitest';
import { bytesBetween, parseConnections } from './traffic.ts';

const line = (local: string, pid: number, more: string): string =>
  `0      0      ${local} 127.0.0.1:6443 users:(("node",pid=${pid},fd=23)) cubic wscale:10,10 ${more} segs_out:25 rcv_space:65483  `;

test("a process' bytes are those of its connections that are there at the end, less what they had before", () => {
  const before = parseConnections(
    [
      line('127.0.0.1:1000', 7, 'bytes_sent:100 bytes_acked:90 bytes_received:1000'),
      line('127.0.0.1:1001', 7, 'bytes_sent:5000 bytes_received:5000'),
      line('127.0.0.1:1002', 8, 'bytes_sent:1 bytes_received:1'),
    ].join('\n'),
  );
  const after = parseConnections(
    [
      line('127.0.0.1:1000', 7, 'bytes_sent:150 bytes_acked:150 bytes_received:1600'),
      line('127.0.0.1:1003', 7, 'bytes_received:30'),
      line('127.0.0.1:1002', 8, 'bytes_sent:4 bytes_received:9'),
      '',
    ].join('\n'),
  );
  expect(bytesBetween(before, after, 7)).toEqual({ sent: 50, received: 630 });
  expect(bytesBetween(before, after, 8)).toEqual({ sent: 3, received: 8 });
});
