// Warm pools: asked for, filled, taken from, changed, deleted.

import assert from 'node:assert/strict'

import { DaytonaConflictError, DaytonaNotFoundError } from '@daytonaio/sdk'

import { daytona, rejects, testWith, waitUntil } from './support.mjs'

const UNKNOWN = '00000000-0000-4000-8000-000000000000'

testWith('a pool fills, serves creates, and goes', async (create) => {
  const pool = await daytona.warmPool.create({ snapshot: 'default', pool: 1 })
  try {
    const found = async () => (await daytona.warmPool.list()).find((other) => other.id === pool.id)
    await waitUntil(async () => (await found()).currentSize === 1, 'a filled pool')
    const sandbox = await create({ envVars: { A: '1' } })
    assert.equal(sandbox.state, 'started')
    assert.equal((await sandbox.process.executeCommand('echo $A; hostname')).result, `1\n${sandbox.id}\n`)
    await rejects(daytona.warmPool.create({ snapshot: 'default', pool: 1 }), DaytonaConflictError, { statusCode: 409 })
    assert.equal((await daytona.warmPool.update(pool.id, { pool: 0 })).pool, 0)
    await waitUntil(async () => (await found()).currentSize === 0, 'a drained pool')
  } finally {
    await daytona.warmPool.delete(pool.id)
  }
  await rejects(daytona.warmPool.delete(UNKNOWN), DaytonaNotFoundError, { statusCode: 404 })
})
