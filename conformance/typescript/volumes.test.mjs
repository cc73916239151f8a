// Volumes: made, mounted by several sandboxes at once, listed, refused, deleted.

import assert from 'node:assert/strict'
import test from 'node:test'

import { DaytonaConflictError, DaytonaNotFoundError, DaytonaValidationError } from '@daytonaio/sdk'

import { daytona, rejects, testWith, unique } from './support.mjs'

const UNKNOWN = '00000000-0000-4000-8000-000000000000'

test('a volume is made on demand and found again', async () => {
  const name = unique()
  await rejects(daytona.volume.get(name), DaytonaNotFoundError, { statusCode: 404 })
  const volume = await daytona.volume.get(name, true)
  assert.deepEqual([volume.name, volume.state], [name, 'ready'])
  assert.equal((await daytona.volume.get(name, true)).id, volume.id)
  const ids = async () => (await daytona.volume.list()).map((found) => found.id)
  assert.ok((await ids()).includes(volume.id))
  await daytona.volume.delete(volume)
  assert.ok(!(await ids()).includes(volume.id))
  const again = await daytona.volume.create(name)
  assert.notEqual(again.id, volume.id)
  await daytona.volume.delete(again)
})

testWith('sandboxes share a volume, and see the part that they asked for', async (create) => {
  const name = unique()
  const volume = await daytona.volume.get(name, true)
  const mount = (more) => ({ volumes: [{ volumeId: volume.id, mountPath: '/data', ...more }] })
  const whole = await create(mount({}))
  const part = await create(mount({ volumeId: name, subpath: 'users/alice' }))
  assert.deepEqual(part.volumes, [{ volumeId: volume.id, mountPath: '/data', subpath: 'users/alice' }])
  await part.fs.uploadFile(Buffer.from('mine'), '/data/file')
  assert.equal(String(await whole.fs.downloadFile('/data/users/alice/file')), 'mine')
  const error = await rejects(daytona.volume.delete(volume), DaytonaConflictError, { statusCode: 409 })
  assert.match(error.message, /in use/)
  await rejects(create(mount({ volumeId: UNKNOWN })), DaytonaNotFoundError, { statusCode: 404 })
  await rejects(create(mount({ mountPath: '/etc/x' })), DaytonaValidationError, { message: /mount path/ })
  await rejects(create(mount({ subpath: '../x' })), DaytonaValidationError, { message: /subpath/ })
  for (const sandbox of [whole, part]) await daytona.delete(sandbox)
  await daytona.volume.delete(volume)
})
