// What every test starts from: the official client, configured by the environment alone, and a fresh sandbox.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { Daytona, DaytonaNotFoundError, DaytonaUnprocessableEntityError } from '@daytonaio/sdk'

for (const variable of ['DAYTONA_API_URL', 'DAYTONA_API_KEY']) {
  assert.ok(process.env[variable], `${variable} is not set: run the tests by scripts/with-server.sh`)
}

export const daytona = new Daytona()

/** A word that no other test uses. */
export const unique = () => `t-${randomUUID().slice(0, 12)}`

export async function collect(iterable) {
  const all = []
  for await (const item of iterable) all.push(item)
  return all
}

export const unlessGone = (error) => {
  if (!(error instanceof DaytonaNotFoundError)) throw error
}

/** A test that may create sandboxes; they are deleted after it, and so is what it was told to `keep` until then. */
export function testWith(name, body) {
  test(name, async (context) => {
    const created = []
    const keep = (sandbox) => {
      created.push(sandbox)
      return sandbox
    }
    const create = async (params) => keep(await daytona.create(params))
    try {
      await body(create, keep, context)
    } finally {
      await Promise.all(created.map((sandbox) => daytona.delete(sandbox).catch(unlessGone)))
    }
  })
}

/** A test of one sandbox without special wishes. */
export function testSandbox(name, body) {
  testWith(name, async (create) => body(await create()))
}

/** A test that is skipped where the host cannot pause. */
export function testPause(name, body) {
  testWith(name, async (create, _, context) => {
    try {
      await body(create)
    } catch (error) {
      if (!(error instanceof DaytonaUnprocessableEntityError && /pausing/.test(error.message))) throw error
      context.skip(`this host cannot pause: ${error.message}`)
    }
  })
}

/** Waits for something that comes by itself; never longer than `seconds`. */
export async function waitUntil(condition, what, seconds = 60) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const value = await condition()
    if (value) return value
    assert.ok(Date.now() < deadline, `${what} did not come within ${seconds} s`)
    await pause(20)
  }
}

/** Expects an error of this class; the other properties are compared as well. */
export async function rejects(promise, errorClass, properties = {}) {
  const error = await promise.then(
    () => assert.fail(`expected ${errorClass.name}, but the call succeeded`),
    (error) => error,
  )
  assert.ok(error instanceof errorClass, `expected ${errorClass.name}, got ${error.constructor.name}: ${error.message}`)
  for (const [property, value] of Object.entries(properties)) {
    if (value instanceof RegExp) assert.match(error[property], value)
    else assert.equal(error[property], value)
  }
  return error
}
