// What is refused, and as which of the client's error classes.

import assert from 'node:assert/strict'
import test from 'node:test'

import {
  Daytona,
  DaytonaAuthenticationError,
  DaytonaConflictError,
  DaytonaNotFoundError,
  DaytonaUnprocessableEntityError,
  DaytonaValidationError,
} from '@daytonaio/sdk'

import { collect, daytona, rejects, testSandbox, testWith, unique } from './support.mjs'

const UNKNOWN = '00000000-0000-4000-8000-000000000000'

test('an unknown sandbox is not found', async () => {
  for (const key of [UNKNOWN, 'no-such-name']) {
    await rejects(daytona.get(key), DaytonaNotFoundError, {
      statusCode: 404,
      source: 'DAYTONA_API',
      code: 'NOT_FOUND',
      message: /not found/,
    })
  }
})

testSandbox('a wrong key opens nothing', async (sandbox) => {
  const stranger = new Daytona({ apiKey: `dtn_${'0'.repeat(64)}` })
  await rejects(stranger.get(sandbox.id), DaytonaAuthenticationError, { statusCode: 401 })
  await rejects(collect(stranger.list()), DaytonaAuthenticationError)
  await rejects(stranger.create(), DaytonaAuthenticationError)
})

testWith('a name that is taken is a conflict, also at the same time', async (create) => {
  const name = unique()
  const results = await Promise.allSettled(Array.from({ length: 5 }, () => create({ name })))
  const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason)
  assert.equal(failures.length, 4)
  for (const error of failures) assert.ok(error instanceof DaytonaConflictError, error.stack)
  await rejects(create({ name }), DaytonaConflictError, { statusCode: 409, message: new RegExp(name) })
})

test('everything wrong with a create is named at once', async () => {
  const error = await rejects(
    daytona.create({
      name: '<b>bold</b>',
      snapshot: 'no-such-snapshot',
      user: '-x',
      envVars: { 'A=B': '1', DAYTONA_X: '1' },
      autoStopInterval: 10 ** 9,
    }),
    DaytonaValidationError,
    { statusCode: 400 },
  )
  for (const word of ['name', 'Snapshot no-such-snapshot not found', 'user', 'A=B', 'DAYTONA_X', 'autoStopInterval']) {
    assert.ok(error.message.includes(word), `${word} is missing in: ${error.message}`)
  }
})

test('what the server cannot do yet is refused and never dropped', async () => {
  for (const [params, field] of [
    [{ kvm: true }, 'kvm'],
    [{ otelEndpointOverride: 'http://192.0.2.1:4318' }, 'otelEndpointOverride'],
  ]) {
    await rejects(daytona.create(params), DaytonaUnprocessableEntityError, { message: new RegExp(field) })
  }
})
