// Sandboxes whose images the client's image builder describes.

import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Image } from '@daytonaio/sdk'

import { daytona, testWith, unique } from './support.mjs'

const SECONDS = 120

testWith('a sandbox is made of an image, its log is heard, and the same again is there at once', async () => {
  const word = unique()
  const folder = await mkdtemp(join(tmpdir(), 'images-'))
  const made = []
  try {
    await mkdir(join(folder, 'app', 'deep'), { recursive: true })
    await writeFile(join(folder, 'app', 'deep', 'b.txt'), 'two\n')
    await writeFile(join(folder, 'single.txt'), 'one\n')
    const image = Image.base('default')
      .env({ WHO: word })
      .runCommands('echo said by the build', 'echo $WHO > /tmp/who')
      .addLocalFile(join(folder, 'single.txt'), '/opt/single.txt')
      .addLocalDir(join(folder, 'app'), '/opt/app')
    let logs = ''
    const options = { timeout: SECONDS, onSnapshotCreateLogs: (piece) => (logs += `${piece}\n`) }
    const sandbox = await daytona.create({ image, resources: { cpu: 2, memory: 2, disk: 4 } }, options)
    made.push(sandbox)
    assert.equal(sandbox.state, 'started')
    assert.deepEqual([sandbox.cpu, sandbox.memory, sandbox.disk], [2, 2, 4])
    assert.match(logs, /said by the build[^]*Built in/)
    const { result } = await sandbox.process.executeCommand('cat /tmp/who /opt/single.txt /opt/app/deep/b.txt')
    assert.equal(result.trim(), `${word}\none\ntwo`)
    logs = ''
    const again = await daytona.create({ image }, options)
    made.push(again)
    assert.equal(logs, '')
    assert.equal(again.buildInfo.snapshotRef, sandbox.buildInfo.snapshotRef)
  } finally {
    await Promise.all(made.map((sandbox) => daytona.delete(sandbox)))
    await rm(folder, { recursive: true })
  }
})

testWith('the name of an image is pulled', async () => {
  const sandbox = await daytona.create({ image: process.env.CONFORMANCE_IMAGE }, { timeout: SECONDS })
  try {
    const { result } = await sandbox.process.executeCommand('echo here')
    assert.equal(result.trim(), 'here')
  } finally {
    await daytona.delete(sandbox)
  }
})

testWith('a failed build says where, and its log is heard', async () => {
  const image = Image.base('default').runCommands(`echo because ${unique()}; exit 3`)
  const name = unique()
  let logs = ''
  const options = { timeout: SECONDS, onSnapshotCreateLogs: (piece) => (logs += piece) }
  await assert.rejects(() => daytona.create({ name, image }, options), /line 2[^]*exit code 3/)
  assert.match(logs, /because/)
  const sandbox = await daytona.get(name)
  assert.equal(sandbox.state, 'build_failed')
  assert.match(sandbox.errorReason, /exit code 3/)
  await daytona.delete(sandbox)
})
