import { describe, expect, it } from 'vitest';
import { errorOfAnswer, type FailedAnswer, type Verb } from './apistatus.ts';

const answer = (status: number, body: unknown = {}, rest: Partial<FailedAnswer> = {}): FailedAnswer => ({
  verb: 'create',
  target: 'pods/shop/web',
  status,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  ...rest,
});

const causes = { details: { causes: [{ field: 'spec.a', message: 'bad', reason: 'FieldValueInvalid' }] } };

describe('the kind of an answer', () => {
  it.each<[number, object, Verb, string]>([
    [400, {}, 'create', 'Invalid'],
    [401, {}, 'create', 'Forbidden'],
    [403, {}, 'create', 'Forbidden'],
    [404, {}, 'get', 'NotFound'],
    [409, { reason: 'AlreadyExists' }, 'create', 'AlreadyExists'],
    [409, { reason: 'Conflict' }, 'update', 'Conflict'],
    [409, {}, 'delete', 'Conflict'],
    [410, { reason: 'Expired' }, 'list', 'Expired'],
    [410, { reason: 'Gone' }, 'watch', 'Expired'],
    [422, { reason: 'Invalid' }, 'patch', 'TestFailed'],
    [422, { reason: 'Invalid', ...causes }, 'patch', 'Invalid'],
    [422, { reason: 'Invalid' }, 'create', 'Invalid'],
    [429, {}, 'get', 'Throttled'],
    [500, {}, 'create', 'OutcomeUnknown'],
    [500, {}, 'list', 'Unreachable'],
    [503, {}, 'delete', 'OutcomeUnknown'],
    [504, { reason: 'Timeout' }, 'patch', 'OutcomeUnknown'],
    [504, { reason: 'Timeout' }, 'watch', 'Unreachable'],
    [301, {}, 'get', 'Unexpected'],
    [405, {}, 'patch', 'Unexpected'],
  ])('%i %j to a %s is %s (last column)', (status, body, verb, kind) => {
    expect(errorOfAnswer(answer(status, body, { verb })).kind).toBe(kind);
  });
});

it('an error carries status, reason and causes', () => {
  const error = errorOfAnswer(answer(422, { reason: 'Invalid', message: 'spec.a: bad', ...causes }));
  expect(error).toMatchObject({
    status: 422,
    reason: 'Invalid',
    causes: [{ field: 'spec.a', message: 'bad', reason: 'FieldValueInvalid' }],
    message: 'create pods/shop/web: 422 Invalid: spec.a: bad',
  });
});

it('the message is one bounded line, whatever the server sent', () => {
  const error = errorOfAnswer(answer(502, `<html>\n<body>${'x'.repeat(5000)}</body>`));
  expect(error.message).toMatch(/^create pods\/shop\/web: 502: <html> <body>x+…$/);
  expect(error.message.length).toBeLessThan(1100);
});

describe('the time to wait', () => {
  it('is the Retry-After header', () => {
    expect(errorOfAnswer(answer(429, {}, { retryAfter: '7' })).retryAfterMs).toBe(7000);
  });

  it('else the one in the Status', () => {
    const body = { details: { retryAfterSeconds: 4 } };
    expect(errorOfAnswer(answer(429, body)).retryAfterMs).toBe(4000);
  });

  it('else a second, also for a header that is a date', () => {
    expect(errorOfAnswer(answer(429)).retryAfterMs).toBe(1000);
    const retryAfter = 'Wed, 21 Oct 2026 07:28:00 GMT';
    expect(errorOfAnswer(answer(503, {}, { retryAfter })).retryAfterMs).toBe(1000);
  });

  it('is given for Throttled only', () => {
    expect(errorOfAnswer(answer(500)).retryAfterMs).toBeUndefined();
  });
});

it.each(['null', '"text"', '[]', '{"message": 5, "details": {"causes": "no"}}', ''])(
  'a body of %s makes no trouble',
  (body) => {
    expect(errorOfAnswer(answer(409, body))).toMatchObject({ kind: 'Conflict', causes: [] });
  },
);
