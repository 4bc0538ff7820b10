/**
 * `node echo.ts SOCKET`: answers every connection's first bytes with the same CNI answer: no agent is faster.
 * `node echo.ts SOCKET silent`: says `received` and does not answer.
 */
import { createServer } from 'node:net';

const [path = '', silent] = process.argv.slice(2);
const body = JSON.stringify({
  exitCode: 0,
  stdout: '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/8"}]}\n',
});
const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
createServer((socket) => {
  socket.on('error', (error) => process.stderr.write(`${error.message}\n`));
  socket.once('data', () => {
    if (silent === undefined) socket.end(answer);
    else process.stdout.write('received\n');
  });
}).listen({ path, backlog: 511 }, () => process.stdout.write('listening\n'));
