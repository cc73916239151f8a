// `@langchain/daytona`: the backend of Deep Agents, as its README starts it. No model takes part.

import assert from 'node:assert/strict'
import test from 'node:test'

import { DaytonaSandbox } from '@langchain/daytona'

test('the basic usage', { timeout: 120_000 }, async () => {
  const sandbox = await DaytonaSandbox.create({ language: 'typescript', timeout: 300 })
  try {
    const ran = await sandbox.execute('echo hello')
    assert.deepEqual([ran.output.trim(), ran.exitCode], ['hello', 0])
    assert.equal((await sandbox.execute('exit 3')).exitCode, 3)
    const [up] = await sandbox.uploadFiles([['/tmp/up.txt', Buffer.from('one\nneedle\n')]])
    assert.equal(up.error, null)
    const [down] = await sandbox.downloadFiles(['/tmp/up.txt'])
    assert.equal(Buffer.from(down.content).toString(), 'one\nneedle\n')
    const [none] = await sandbox.downloadFiles(['/tmp/none.txt'])
    assert.equal(none.error, 'file_not_found')
    assert.ok((await sandbox.getWorkDir()).startsWith('/'))
    assert.ok((await sandbox.getUserHomeDir()).startsWith('/'))
    // What is inherited runs programs of its own in the sandbox.
    assert.match(JSON.stringify(await sandbox.read('/tmp/up.txt')), /needle/)
    await sandbox.write('/tmp/new.txt', 'first\n')
    await sandbox.edit('/tmp/new.txt', 'first', 'second')
    assert.equal((await sandbox.execute('cat /tmp/new.txt')).output.trim(), 'second')
    assert.match(JSON.stringify(await sandbox.grep('needle', '/tmp')), /up\.txt/)
    assert.match(JSON.stringify(await sandbox.glob('*.txt', '/tmp')), /up\.txt/)
    assert.match(JSON.stringify(await sandbox.ls('/tmp')), /up\.txt/)
    const again = await DaytonaSandbox.fromId(sandbox.id)
    assert.equal((await again.execute('cat /tmp/new.txt')).output.trim(), 'second')
  } finally {
    await sandbox.close()
  }
})
