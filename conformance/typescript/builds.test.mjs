// Snapshots that the client's image builder describes.

import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Image } from '@daytonaio/sdk'

import { daytona, testWith, unique } from './support.mjs'

testWith('commands, variables and local files are in the image', async (create) => {
  const folder = await mkdtemp(join(tmpdir(), 'builds-'))
  try {
    await mkdir(join(folder, 'app', 'deep'), { recursive: true })
    await writeFile(join(folder, 'app', 'deep', 'b.txt'), 'two\n')
    await writeFile(join(folder, 'app', 'tool'), '#!/bin/sh\necho tool $GREETING\n')
    await chmod(join(folder, 'app', 'tool'), 0o755)
    await writeFile(join(folder, 'single.txt'), 'one\n')
    const image = Image.base('default')
      .env({ GREETING: 'hello' })
      .runCommands('echo $GREETING > /tmp/greeting')
      .addLocalFile(join(folder, 'single.txt'), '/opt/single.txt')
      .addLocalDir(join(folder, 'app'), '/opt/app')
    const name = unique()
    let logs = ''
    const snapshot = await daytona.snapshot.create({ name, image }, { onLogs: (piece) => (logs += piece) })
    assert.equal(snapshot.state, 'active')
    assert.match(logs, /Built in/)
    const sandbox = await create({ snapshot: name })
    const command = 'cat /tmp/greeting /opt/single.txt /opt/app/deep/b.txt; /opt/app/tool'
    const { result } = await sandbox.process.executeCommand(command)
    assert.equal(result.trim(), 'hello\none\ntwo\ntool hello')
    await daytona.snapshot.delete(snapshot)
  } finally {
    await rm(folder, { recursive: true })
  }
})

testWith('a failed build says where', async () => {
  const image = Image.base('default').runCommands('echo because; exit 3')
  await assert.rejects(() => daytona.snapshot.create({ name: unique(), image }), /line 2.*exit code 3/)
})
