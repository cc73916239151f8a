// Terminals: a shell that a person could sit at.

import assert from 'node:assert/strict'

import { DaytonaError, DaytonaNotFoundError } from '@daytonaio/sdk'

import { rejects, testSandbox, waitUntil } from './support.mjs'

/** Takes what a terminal says. */
function listener() {
  const pieces = []
  const text = () => Buffer.concat(pieces).toString()
  return {
    text,
    onData: (data) => pieces.push(Buffer.from(data)),
    until: (wanted) => waitUntil(() => text().includes(wanted), `${wanted} in the terminal`),
  }
}

testSandbox('a terminal is made, used and left', async (sandbox) => {
  const { onData, text, until } = listener()
  const envs = { NAME: 'a b' }
  const handle = await sandbox.process.createPty({ id: 'work', cwd: '/tmp', envs, cols: 100, rows: 30, onData })
  assert.ok(handle.isConnected())
  await handle.sendInput('echo "<$NAME>"; pwd; stty size\n')
  await until('30 100')
  assert.match(text(), /<a b>[^]*\/tmp/)
  const info = await handle.resize(120, 40)
  assert.deepEqual([info.cols, info.rows, info.active], [120, 40, true])
  await handle.sendInput('stty size; seq 100000; exit 7\n')
  const result = await handle.wait()
  assert.deepEqual([result.exitCode, result.error], [7, 'non-zero exit'])
  assert.match(text(), /40 120[^]*\n100000\r\n/)
  await handle.disconnect()
  await rejects(sandbox.process.getPtySessionInfo('work'), DaytonaNotFoundError)
})

testSandbox('terminals are listed, watched again and killed', async (sandbox) => {
  const { process } = sandbox
  const first = listener()
  const handle = await process.createPty({ id: 'work', onData: first.onData })
  await handle.sendInput("A=kept; echo re''ady\n")
  await first.until('ready')
  await handle.disconnect()
  assert.deepEqual((await process.listPtySessions()).map((info) => info.id), ['work'])
  const second = listener()
  const again = await process.connectPty('work', { onData: second.onData })
  await again.sendInput('echo "<$A>"\n')
  await second.until('<kept>')
  await process.killPtySession('work')
  assert.deepEqual(await again.wait(), { exitCode: 137, error: 'SIGKILL' })
  assert.deepEqual(await process.listPtySessions(), [])
})

testSandbox('what cannot be a terminal is told as such', async (sandbox) => {
  const { process } = sandbox
  await process.createPty({ id: 'work', onData() {} })
  // The client has no word of the reason.
  await rejects(process.createPty({ id: 'work', onData() {} }), DaytonaError)
  await rejects(process.connectPty('none', { onData() {} }), DaytonaError, { message: /not found/ })
  await rejects(process.resizePtySession('work', 1001, 24), DaytonaError, { statusCode: 400 })
  await rejects(process.resizePtySession('none', 80, 24), DaytonaError, { statusCode: 410 })
  await rejects(process.killPtySession('none'), DaytonaNotFoundError)
})
