// Files and folders.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import {
  DaytonaBadRequestError,
  DaytonaConflictError,
  DaytonaError,
  DaytonaFileAccessDeniedError,
  DaytonaFileNotFoundError,
  DaytonaInvalidFilePathError,
} from '@daytonaio/sdk'

import { collect, rejects, testSandbox } from './support.mjs'

const EVERY_BYTE = Buffer.from(Array.from({ length: 768 }, (_, n) => n % 256))
const NAMES = ['plain.txt', 'with space.txt', 'ünï/cödé.bin', 'beyond/☃ 文件 🦀', 'quote"and\\slash.txt', "per%20cent+plus&;='.txt", '-dash']

const streamed = async (sandbox, path, options) => Buffer.concat(await collect(await sandbox.fs.downloadFileStream(path, options)))

/** A test with a local folder. */
function testFolder(name, body) {
  testSandbox(name, async (sandbox) => {
    const folder = await mkdtemp(join(tmpdir(), 'conformance-'))
    try {
      await body(sandbox, folder)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
}

testSandbox('a file comes back as it was sent, whatever its name', async (sandbox) => {
  for (const name of NAMES) {
    await sandbox.fs.uploadFile(EVERY_BYTE, name)
    assert.deepEqual(await sandbox.fs.downloadFile(name), EVERY_BYTE, name)
    assert.deepEqual(await streamed(sandbox, name), EVERY_BYTE, name)
  }
})

testSandbox('an empty file comes back empty', async (sandbox) => {
  await sandbox.fs.uploadFile(Buffer.alloc(0), 'empty')
  assert.equal((await sandbox.fs.downloadFile('empty')).length, 0)
  assert.equal((await streamed(sandbox, 'empty')).length, 0)
})

testFolder('many files go in one call, from and to local paths', async (sandbox, folder) => {
  await writeFile(join(folder, 'local'), 'from a path')
  await sandbox.fs.uploadFiles([
    { source: Buffer.from('one'), destination: 'many/1' },
    { source: join(folder, 'local'), destination: '/tmp/2' },
    { source: EVERY_BYTE, destination: 'many/ä' },
  ])
  const answers = await sandbox.fs.downloadFiles([
    { source: 'many/1' },
    { source: 'missing' },
    { source: '/tmp/2', destination: join(folder, 'target') },
    { source: 'many/ä' },
  ])
  assert.deepEqual(answers.map((answer) => answer.source), ['many/1', 'missing', '/tmp/2', 'many/ä'])
  assert.equal(answers[0].result.toString(), 'one')
  assert.deepEqual(answers[3].result, EVERY_BYTE)
  assert.equal(await readFile(join(folder, 'target'), 'utf8'), 'from a path')
  assert.deepEqual([answers[1].errorDetails.statusCode, answers[1].errorDetails.code], [404, 'FILE_NOT_FOUND'])
})

testSandbox('a stream of unknown length is uploaded', async (sandbox) => {
  const seen = []
  await sandbox.fs.uploadFileStream(Readable.from([Buffer.from('one '), Buffer.from('two')]), 'streamed', {
    onProgress: ({ bytesSent }) => seen.push(bytesSent),
  })
  assert.equal(seen.at(-1), 7)
  assert.equal((await sandbox.fs.downloadFile('streamed')).toString(), 'one two')
})

testSandbox('a download tells its progress and can be broken off', async (sandbox) => {
  await sandbox.fs.uploadFile(Buffer.alloc(5_000_000, 'x'), 'big')
  const seen = []
  await streamed(sandbox, 'big', { onProgress: (progress) => seen.push({ ...progress }) })
  assert.deepEqual(seen.at(-1), { bytesReceived: 5_000_000, totalBytes: 5_000_000 })
  const controller = new AbortController()
  await assert.rejects(async () => {
    const stream = await sandbox.fs.downloadFileStream('big', { signal: controller.signal })
    for await (const _ of stream) controller.abort()
  })
  assert.equal((await sandbox.fs.downloadFile('big')).length, 5_000_000, 'the sandbox goes on')
})

testFolder('a hundred megabytes pass with bounded memory', async (sandbox, folder) => {
  const kib = (status) => Number(/^VmHWM:\s+(\d+)/m.exec(status)[1])
  await sandbox.fs.uploadFile(Buffer.alloc(1_000_000), 'warm')
  await sandbox.fs.downloadFile('warm')
  const peaks = async () => ({
    server: kib(await readFile(`/proc/${process.env.ALCOVE_SERVER_PID}/status`, 'utf8')),
    agent: kib((await sandbox.process.executeCommand('cat /proc/1/status')).result),
  })
  // No two blocks are alike, so that one lost or swapped is noticed.
  const block = randomBytes(1_000_000)
  const blocks = Array.from({ length: 100 }, (_, number) => {
    const copy = Buffer.from(block)
    copy.writeUInt32BE(number)
    return copy
  })
  await writeFile(join(folder, 'source'), blocks)
  const digest = blocks.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')

  const before = await peaks()
  await sandbox.fs.uploadFileStream(createReadStream(join(folder, 'source')), 'large')
  assert.equal((await sandbox.process.executeCommand('sha256sum < large')).result.split(' ')[0], digest)
  const back = createHash('sha256')
  for await (const chunk of await sandbox.fs.downloadFileStream('large')) back.update(chunk)
  assert.equal(back.digest('hex'), digest)
  const after = await peaks()
  for (const place of ['server', 'agent']) {
    assert.ok(after[place] - before[place] < 32 * 1024, `${place}: ${before[place]} to ${after[place]} KiB`)
  }
})

testSandbox('listings and details describe files', async (sandbox) => {
  await sandbox.fs.uploadFile(Buffer.from('12345'), 'list/file.txt')
  await sandbox.fs.createFolder('list/folder/inner', '750')
  await sandbox.process.executeCommand('chmod 640 list/file.txt; touch list/.hidden')
  const entries = await sandbox.fs.listFiles('list')
  assert.deepEqual(entries.map((entry) => entry.name).sort(), ['.hidden', 'file.txt', 'folder'])
  const file = entries.find((entry) => entry.name === 'file.txt')
  assert.deepEqual(
    [file.isDir, file.size, file.permissions, file.mode, file.owner],
    [false, 5, '0640', '-rw-r-----', '1000'],
  )
  const deep = await sandbox.fs.listFiles('list', { depth: 2 })
  assert.ok(deep.some((entry) => entry.path === 'list/folder/inner'))
  const details = await sandbox.fs.getFileDetails('list/folder')
  assert.deepEqual([details.name, details.isDir, details.permissions], ['folder', true, '0750'])
})

testSandbox('files and folders are moved and deleted', async (sandbox) => {
  await sandbox.fs.uploadFile(Buffer.from('x'), 'from/file')
  await sandbox.fs.moveFiles('from', 'to')
  assert.equal((await sandbox.fs.downloadFile('to/file')).toString(), 'x')
  await rejects(sandbox.fs.deleteFile('to'), DaytonaBadRequestError)
  await sandbox.fs.deleteFile('to/file')
  await sandbox.fs.deleteFile('to', true)
  await rejects(sandbox.fs.getFileDetails('to'), DaytonaFileNotFoundError)
})

testSandbox('each failure has its error class', async (sandbox) => {
  const fs = sandbox.fs
  const missing = { statusCode: 404, source: 'DAYTONA_DAEMON', code: 'FILE_NOT_FOUND' }
  await rejects(fs.getFileDetails('missing'), DaytonaFileNotFoundError, missing)
  await rejects(fs.downloadFile('missing'), DaytonaFileNotFoundError, missing)
  await rejects(streamed(sandbox, 'missing'), DaytonaFileNotFoundError, missing)
  await rejects(fs.deleteFile('missing'), DaytonaFileNotFoundError, missing)
  await rejects(fs.moveFiles('missing', 'there'), DaytonaFileNotFoundError, missing)
  await rejects(fs.listFiles('missing'), DaytonaFileNotFoundError, missing)
  await fs.uploadFiles([
    { source: Buffer.from('1'), destination: 'one' },
    { source: Buffer.from('2'), destination: 'two' },
  ])
  await rejects(fs.moveFiles('one', 'two'), DaytonaConflictError)
  await rejects(fs.createFolder('folder', 'rwx'), DaytonaBadRequestError)
  await rejects(fs.downloadFile('/tmp'), DaytonaInvalidFilePathError)
  await sandbox.process.executeCommand("sudo sh -c 'mkdir /secret; echo x > /secret/file; chmod 700 /secret'")
  await rejects(fs.downloadFile('/secret/file'), DaytonaFileAccessDeniedError, { statusCode: 403 })
  await rejects(fs.uploadFile(EVERY_BYTE, '/secret/new'), DaytonaError, { message: /permission denied/, statusCode: 400 })
})
