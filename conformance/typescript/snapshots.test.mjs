// Snapshots of images in a registry, and sandboxes of them.

import assert from 'node:assert/strict'

import { DaytonaConflictError, DaytonaNotFoundError } from '@daytonaio/sdk'

import { daytona, rejects, testWith, unique, waitUntil } from './support.mjs'

const image = process.env.CONFORMANCE_IMAGE

testWith('a snapshot is created, listed, found, used and deleted', async (create) => {
  const name = unique()
  const snapshot = await daytona.snapshot.create({ name, image })
  assert.deepEqual([snapshot.name, snapshot.state, snapshot.imageName], [name, 'active', image])
  assert.equal((await daytona.snapshot.get(name)).id, snapshot.id)
  const { items } = await daytona.snapshot.list()
  assert.ok(items.some((item) => item.id === snapshot.id))

  const sandbox = await create({ snapshot: name })
  await sandbox.process.executeCommand('echo kept > file')
  await sandbox.stop()
  await daytona.snapshot.delete(snapshot)
  await waitUntil(async () => {
    try {
      await daytona.snapshot.get(name)
      return false
    } catch (error) {
      return error instanceof DaytonaNotFoundError
    }
  }, 'the end of the snapshot')
  await sandbox.start()
  assert.equal((await sandbox.process.executeCommand('cat file')).result.trim(), 'kept')
})

testWith('sizes and entrypoint are those that were asked for', async (create) => {
  const name = unique()
  const entrypoint = ['/bin/sh', '-c', 'echo ran > /tmp/ran; sleep 1000']
  const snapshot = await daytona.snapshot.create({ name, image, entrypoint, resources: { cpu: 1, memory: 2, disk: 4 } })
  assert.deepEqual([snapshot.mem, snapshot.disk, snapshot.entrypoint], [2, 4, entrypoint])
  const sandbox = await create({ snapshot: name })
  assert.deepEqual([sandbox.memory, sandbox.disk], [2, 4])
  await waitUntil(async () => {
    const { result } = await sandbox.process.executeCommand('cat /tmp/ran')
    return result.trim() === 'ran'
  }, 'the entrypoint')
  await daytona.snapshot.delete(snapshot)
})

testWith('what breaks the rules is refused', async () => {
  const name = unique()
  const snapshot = await daytona.snapshot.create({ name, image })
  await rejects(daytona.snapshot.create({ name, image }), DaytonaConflictError)
  await assert.rejects(() => daytona.snapshot.create({ name: unique(), image: 'python:latest' }), /latest/)
  await assert.rejects(() => daytona.snapshot.activate(snapshot), /inactive/)
  await assert.rejects(() => daytona.snapshot.create({ name: unique(), image: `${image}-none` }), /1-none/)
  await daytona.snapshot.delete(snapshot)
})
