import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnswerReader } from './answerreader.ts';

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  body: string;
  /** Undefined until it ends. */
  isLast: boolean | undefined;
}

/** A reader whose answers are collected; bodies as latin1, so that each character is a byte. */
function collecting(): { reader: AnswerReader; answers: Answer[] } {
  const answers: Answer[] = [];
  const current = (): Answer => {
    const answer = answers.at(-1);
    if (answer === undefined) throw new Error('before any head');
    if (answer.isLast !== undefined) throw new Error('after the end');
    return answer;
  };
  const reader = new AnswerReader({
    onHead: (head) => {
      if (answers.length > 0 && answers.at(-1)?.isLast !== false) throw new Error('a head in an answer');
      answers.push({ ...head, body: '', isLast: undefined });
    },
    onData: (chunk) => {
      if (chunk.length === 0) throw new Error('nothing is no data');
      current().body += chunk.toString('latin1');
    },
    onEnd: (isLast) => {
      current().isLast = isLast;
    },
  });
  return { reader, answers };
}

function read(...pieces: readonly string[]): Answer[] {
  const { reader, answers } = collecting();
  for (const piece of pieces) reader.push(Buffer.from(piece, 'latin1'));
  return answers;
}

const OK = 'HTTP/1.1 200 OK\r\n';
const head = (...fields: readonly string[]): string => `${OK}${fields.map((f) => `${f}\r\n`).join('')}\r\n`;
const CHUNKED = 'transfer-encoding: chunked';

/** What may be cut anywhere and read the same, with what it says. */
interface Sample {
  readonly text: string;
  readonly expected: Pick<Answer, 'status' | 'body' | 'retryAfter'>;
}

const bodies = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const tokens = fc.stringMatching(/^[a-z0-9-]{1,8}$/);
const values = fc.stringMatching(/^[!-~\t ]{0,12}$/);
/** None of the names that mean something here. */
const fields = fc
  .array(fc.tuple(tokens, values), { maxLength: 3 })
  .map((all) => all.map(([name, value]) => `x-${name}:${value}\r\n`).join(''));
const statuses = fc.constantFrom(200, 201, 404, 409, 429, 500, 599);
const interims = fc
  .array(fc.tuple(fc.constantFrom(100, 102, 103, 199), fields), { maxLength: 2 })
  .map((all) => all.map(([status, extra]) => `HTTP/1.1 ${status} Wait\r\n${extra}\r\n`).join(''));

const counted: fc.Arbitrary<Sample> = fc
  .tuple(interims, statuses, fields, bodies, fc.option(fc.nat(99), { nil: undefined }))
  .map(([before, status, extra, body, retryAfter]) => ({
    text:
      `${before}HTTP/1.1 ${status}\r\n${extra}Content-LENGTH: \t${body.length} \r\n` +
      `${retryAfter === undefined ? '' : `Retry-After: ${retryAfter}\r\n`}\r\n${body}`,
    expected: { status, body, retryAfter: retryAfter === undefined ? undefined : String(retryAfter) },
  }));

const chunks = fc.array(
  fc.tuple(
    bodies.filter((body) => body !== ''),
    fc.constantFrom('', ';a', ' ;a=1', '\t;a="b;c";d'),
    fc.nat(3),
    fc.boolean(),
  ),
  { maxLength: 4 },
);

const chunked: fc.Arbitrary<Sample> = fc
  .tuple(interims, statuses, fields, chunks, fields)
  .map(([before, status, extra, parts, trailers]) => ({
    text: `${before}HTTP/1.1 ${status} X\r\n${extra}Transfer-Encoding: Chunked\r\n\r\n${parts
      .map(([body, extension, zeros, isUpper]) => {
        const size = '0'.repeat(zeros) + body.length.toString(16);
        return `${isUpper ? size.toUpperCase() : size}${extension}\r\n${body}\r\n`;
      })
      .join('')}0\r\n${trailers}\r\n`,
    expected: { status, body: parts.map(([body]) => body).join(''), retryAfter: undefined },
  }));

const empty: fc.Arbitrary<Sample> = fc
  .tuple(interims, fc.constantFrom(204, 304), fields, fc.constantFrom('', 'content-length: 7\r\n'))
  .map(([before, status, extra, length]) => ({
    text: `${before}HTTP/1.1 ${status} Nothing\r\n${extra}${length}\r\n`,
    expected: { status, body: '', retryAfter: undefined },
  }));

const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 });

/** Cuts; the sizes are gone through again and again. */
function* cut(bytes: Buffer, by: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = by[i % by.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

describe('any cut', () => {
  it('of valid answers one after the other gives the same heads and bodies', () => {
    const samples = fc.array(fc.oneof(counted, chunked, empty), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(samples, sizes, (all, by) => {
        const { reader, answers } = collecting();
        // Nobody asks before an answer is whole: the next begins with a new piece.
        for (const { text } of all)
          for (const piece of cut(Buffer.from(text, 'latin1'), by)) reader.push(piece);
        expect(answers).toEqual(all.map(({ expected }) => ({ ...expected, isLast: false })));
        reader.close();
      }),
    );
  });

  it('is the same as none', () => {
    fc.assert(
      fc.property(fc.oneof(counted, chunked, empty), sizes, ({ text }, by) => {
        const bytes = Buffer.from(text, 'latin1');
        expect(read(...Array.from(cut(bytes, by), (piece) => piece.toString('latin1')))).toEqual(read(text));
      }),
    );
  });

  it('of a body that ends with the connection gives all of it', () => {
    fc.assert(
      fc.property(fields, bodies, sizes, (extra, body, by) => {
        const { reader, answers } = collecting();
        for (const piece of cut(Buffer.from(`${OK}${extra}\r\n${body}`, 'latin1'), by)) reader.push(piece);
        expect(answers).toEqual([{ status: 200, retryAfter: undefined, body, isLast: undefined }]);
        reader.close();
        expect(answers).toEqual([{ status: 200, retryAfter: undefined, body, isLast: true }]);
      }),
    );
  });
});

describe('arbitrary bytes', () => {
  const MAX_HELD = 64 * 1024;
  /** Mostly things that a reader may take for something. */
  const piece = fc.oneof(
    bodies,
    fc.constantFrom('\r\n', '\r', '\n', '\r\n\r\n', ':', ' ', '0', '5\r\nhello', 'ffffffffffff', ';', '\0'),
    fc.constantFrom(
      OK,
      'HTTP/1.0 200 OK\r\n',
      'HTTP/1.1 204\r\n',
      'HTTP/1.1 100 C\r\n\r\n',
      `${CHUNKED}\r\n`,
    ),
    fc.constantFrom('content-length: 3\r\n', 'content-length: 0\r\n', 'connection: close\r\n', 'a: b\r\n'),
  );
  const starts = fc.constantFrom(
    '',
    OK,
    head('content-length: 3'),
    head(CHUNKED),
    `${head(CHUNKED)}0\r\n`,
    head(),
  );
  const soup = fc
    .tuple(starts, fc.array(piece, { maxLength: 20 }))
    .map(([start, parts]) => Buffer.from(start + parts.join(''), 'latin1'));

  it('never throw anything but an Error, nor tell more than they are', () => {
    let refused = 0;
    let taken = 0;
    fc.assert(
      fc.property(soup, sizes, (bytes, by) => {
        let told = 0;
        let isEnded = true;
        const wrong: string[] = [];
        const reader = new AnswerReader({
          onHead: ({ status }) => {
            if (!isEnded || status < 200) wrong.push(`head ${status}`);
            isEnded = false;
            taken += 1;
          },
          onData: (chunk) => {
            if (isEnded || chunk.length === 0) wrong.push(`data ${chunk.length}`);
            told += chunk.length;
          },
          onEnd: () => {
            if (isEnded) wrong.push('end');
            isEnded = true;
          },
        });
        let thrown: unknown;
        try {
          for (const part of cut(bytes, by)) reader.push(part);
          reader.close();
        } catch (error) {
          thrown = error;
          refused += 1;
        }
        // Either it was refused or all that had begun has ended.
        if (thrown === undefined) expect(isEnded).toBe(true);
        else expect(thrown).toBeInstanceOf(Error);
        expect(wrong).toEqual([]);
        expect(told).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 2000 },
    );
    // Or the soup is too thin to prove anything.
    expect(refused).toBeGreaterThan(100);
    expect(taken).toBeGreaterThan(100);
  });

  it.each([
    ['head', '', MAX_HELD],
    ['head after an interim one', 'HTTP/1.1 100 C\r\n\r\n', MAX_HELD],
    ['size of a chunk', head(CHUNKED), 1024],
    ['line after a chunk', `${head(CHUNKED)}1\r\nx`, 1024],
    ['trailer', `${head(CHUNKED)}0\r\n`, MAX_HELD],
  ])('without the end of the %s are held no longer than its limit', (_, before, limit) => {
    // Anything but a line feed: no line ends.
    const fillers = fc
      .uint8Array({ minLength: 1, maxLength: 3000 })
      .map((bytes) => bytes.filter((b) => b !== 10));
    fc.assert(
      fc.property(
        fillers.filter((bytes) => bytes.length > 0),
        (bytes) => {
          const reader = new AnswerReader({
            onHead: () => undefined,
            onData: (chunk) => expect(chunk.toString()).toBe('x'),
            onEnd: () => expect.unreachable(),
          });
          reader.push(Buffer.from(before));
          // In pieces of some hundred bytes at least, or it takes minutes.
          const filler = Buffer.alloc(Math.max(bytes.length, 500), bytes);
          let given = 0;
          const pour = (): void => {
            for (; given < 10 * MAX_HELD; given += filler.length) reader.push(filler);
          };
          expect(pour).toThrow(/too long|is longer than/);
          expect(given).toBeGreaterThanOrEqual(limit - filler.length);
          expect(given).toBeLessThanOrEqual(limit + filler.length);
        },
      ),
      { numRuns: 20 },
    );
  });
});

describe('refused is', () => {
  it.each([
    ['two different content-lengths', head('content-length: 3', 'Content-Length: 4'), 'two different'],
    ['a list of content-lengths', head('content-length: 3, 3'), 'content-length 3, 3'],
    [
      'the same content-length written otherwise',
      head('content-length: 3', 'content-length: 03'),
      'two different',
    ],
    ['a content-length with a sign', head('content-length: +3'), 'content-length +3'],
    ['a content-length in hex', head('content-length: 0x3'), 'content-length 0x3'],
    ['an empty content-length', head('content-length:'), 'content-length'],
    ['a content-length beyond exact numbers', head(`content-length: ${'9'.repeat(16)}`), 'content-length 9'],
    ['a space that is none around content-length', head('content-length: \xa03'), 'content-length \xa03'],
    ['an unknown transfer-encoding', head('transfer-encoding: gzip'), 'transfer-encoding gzip'],
    ['a coding below chunked', head('transfer-encoding: gzip, chunked'), 'transfer-encoding gzip, chunked'],
    ['chunked and another coding', head(CHUNKED, 'transfer-encoding: gzip'), 'two different'],
    ['a folded header', head('a: b', ' c'), 'not a header field: " c"'],
    ['a folded first header', head('\ta: b'), 'not a header field'],
    ['a header without colon', head('content-length'), 'not a header field: "content-length"'],
    ['a header without name', head(': 3'), 'not a header field'],
    ['a space before the colon', head('content-length : 3'), 'not a header field: "content-length : 3"'],
    ['a line feed in a header', head('a: b\ncontent-length: 3'), 'not a header field'],
    ['a carriage return in a header', head('a: b\rcontent-length: 3'), 'not a header field'],
    ['a zero byte in a header', head('a: b\0'), 'not a header field'],
    ['a status line of another version', 'HTTP/2.0 200 OK\r\n\r\n', 'not an HTTP answer: "HTTP/2.0 200 OK"'],
    ['a status line without a status', 'HTTP/1.1 OK\r\n\r\n', 'not an HTTP answer'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'not an HTTP answer'],
    ['a status below 100', 'HTTP/1.1 099 OK\r\n\r\n', 'not an HTTP answer'],
    ['an empty line before the status line', `\r\n${head()}`, 'not an HTTP answer'],
    ['what speaks no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n\r\n', 'not an HTTP answer: "SSH-2.0-OpenSSH_9.6"'],
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n', 'another protocol'],
    ['a chunk size that is not hex', `${head(CHUNKED)}g\r\n`, 'not the size of a chunk: "g"'],
    ['a chunk size with a prefix', `${head(CHUNKED)}0x3\r\nabc\r\n`, 'not the size of a chunk: "0x3"'],
    ['a chunk size with a sign', `${head(CHUNKED)}-1\r\n`, 'not the size of a chunk'],
    ['an empty chunk size', `${head(CHUNKED)}\r\n`, 'not the size of a chunk'],
    ['a chunk size beyond exact numbers', `${head(CHUNKED)}${'f'.repeat(14)}\r\n`, 'not the size of a chunk'],
    ['a line feed in a chunk size', `${head(CHUNKED)}3;\n\r\nabc`, 'not the size of a chunk'],
    ['a chunk longer than it says', `${head(CHUNKED)}3\r\nabcd\r\n`, 'a chunk is longer than it says'],
    ['a trailer that is no header', `${head(CHUNKED)}0\r\na b\r\n\r\n`, 'not a header field: "a b"'],
    ['a line feed in a trailer', `${head(CHUNKED)}0\r\na: b\n\n${OK}\r\n`, 'not a header field'],
    ['a too long head', head(`a: ${'b'.repeat(65536)}`), 'longer than 65536 bytes'],
    ['a too long size line', `${head(CHUNKED)}1;${'b'.repeat(1024)}\r\n`, 'too long'],
    ['a too long trailer', `${head(CHUNKED)}0\r\na: ${'b'.repeat(65536)}\r\n`, 'too long'],
  ])('%s', (_, text, message) => {
    expect(() => read(text)).toThrow(message);
    // Also where it comes byte by byte.
    if (text.length < 1000) expect(() => read(...text.split(''))).toThrow(message);
  });

  it('not what is just within the limits', () => {
    const room = 65536 - OK.length - 'a: '.length;
    expect(read(`${OK}a: ${'b'.repeat(room)}\r\n\r\n`)).toMatchObject([{ status: 200 }]);
    const line = `1;${'b'.repeat(1022)}`;
    expect(read(`${head(CHUNKED)}${line}\r\nx\r\n0\r\n\r\n`)).toMatchObject([{ body: 'x', isLast: false }]);
    const trailer = `a: ${'b'.repeat(65533)}`;
    expect(read(`${head(CHUNKED)}0\r\n${trailer}\r\n\r\n`)).toMatchObject([{ body: '', isLast: false }]);
  });
});

describe('the last on its connection is', () => {
  const old = (...all: readonly string[]): string => head(...all).replace('1.1', '1.0');
  const three = 'content-length: 3';

  it.each([
    ['an answer of HTTP/1.0', `${old(three)}abc`, 'abc'],
    ['one of HTTP/1.0 that is chunked', `${old(CHUNKED, 'connection: keep-alive')}0\r\n\r\n`, ''],
    ['one of HTTP/1.0 with both options', `${old(three, 'connection: keep-alive, close')}abc`, 'abc'],
    ['one that says so', `${head(three, 'Connection: Close')}abc`, 'abc'],
    ['one that says so among others', `${head(three, 'connection: a,close ,b')}abc`, 'abc'],
    ['one that says so in a second line', `${head(three, 'connection: a', 'connection: close')}abc`, 'abc'],
    ['one with a length and chunks', `${head(three, CHUNKED)}1\r\nx\r\n0\r\n\r\n`, 'x'],
    ['one without a body that says so', 'HTTP/1.1 204 No\r\nconnection: close\r\n\r\n', ''],
    ['one with bytes after its counted body', `${head(three)}abcd`, 'abc'],
    ['one with bytes after its last chunk', `${head(CHUNKED)}0\r\n\r\nx`, ''],
    ['one with bytes after its head', `${head('content-length: 0')}x`, ''],
    ['one without a body but with bytes of it', `${'HTTP/1.1 204 No\r\n'}${three}\r\n\r\nabc`, ''],
    ['one with another right after it', `${head(three)}abc${head(three)}def`, 'abc'],
  ])('%s', (_, text, body) => {
    expect(read(text)).toMatchObject([{ body, isLast: true }]);
  });

  it.each([
    ['one of HTTP/1.1', `${head(three)}abc`],
    ['one of HTTP/1.0 that says so', `${old(three, 'connection: Keep-Alive')}abc`],
    ['one with options that are not known', `${head(three, 'connection: closed')}abc`],
    ['one with the same length twice', `${head(three, three)}abc`],
  ])('not %s', (_, text) => {
    expect(read(text)).toMatchObject([{ body: 'abc', isLast: false }]);
  });

  it('heard to the end: what comes later is passed over', () => {
    const { reader, answers } = collecting();
    reader.push(Buffer.from(`${head(three, 'connection: close')}abc`));
    reader.push(Buffer.from(`${head(three)}def`));
    reader.close();
    expect(answers).toMatchObject([{ body: 'abc', isLast: true }]);
  });
});

describe('the end of the connection', () => {
  it.each([
    ['a status line', 'HTTP/1.1 2'],
    ['a head', `${OK}a: b\r\n`],
    ['a counted body', `${head('content-length: 3')}ab`],
    ['a counted body of which nothing came', head('content-length: 3')],
    ['a size line', `${head(CHUNKED)}3`],
    ['a chunk', `${head(CHUNKED)}3\r\nab`],
    ['chunks', `${head(CHUNKED)}3\r\nabc\r\n`],
    ['trailers', `${head(CHUNKED)}0\r\n`],
  ])('in the middle of %s is an error', (_, text) => {
    const { reader, answers } = collecting();
    reader.push(Buffer.from(text));
    expect(() => reader.close()).toThrow('the answer breaks off');
    expect(answers.every(({ isLast }) => isLast === undefined)).toBe(true);
  });

  it('between answers is none', () => {
    const { reader, answers } = collecting();
    reader.close();
    expect(answers).toEqual([]);
  });
});

it('the first of several retry-after counts', () => {
  expect(read(head('retry-after: 3', 'Retry-After: 4', 'content-length: 0'))).toMatchObject([
    { retryAfter: '3' },
  ]);
});

it('a body is passed on as it comes, without waiting for its end', () => {
  const { reader, answers } = collecting();
  reader.push(Buffer.from(`${head(CHUNKED)}5\r\nab`));
  expect(answers).toMatchObject([{ body: 'ab', isLast: undefined }]);
  reader.push(Buffer.from('c'));
  expect(answers).toMatchObject([{ body: 'abc', isLast: undefined }]);
});
