// `@mastra/daytona`: the examples of its README.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test from 'node:test'

import { Workspace } from '@mastra/core/workspace'
import { DaytonaSandbox } from '@mastra/daytona'

// The address is an option of its own there; the key comes from the environment.
const apiUrl = process.env.DAYTONA_API_URL

test('basic', { timeout: 120_000 }, async () => {
  const sandbox = new DaytonaSandbox({ language: 'typescript', timeout: 60_000, apiUrl })
  const workspace = new Workspace({ sandbox })
  await workspace.init()
  const result = await workspace.sandbox.executeCommand('echo', ['Hello!'])
  assert.equal(result.stdout.trim(), 'Hello!')
  const lines = []
  const failed = await sandbox.executeCommand('bash', ['-c', 'for i in 1 2 3; do echo "line $i"; done; exit 3'], {
    onStdout: (chunk) => lines.push(chunk),
  })
  assert.equal(failed.exitCode, 3)
  assert.equal(lines.join('').trim(), 'line 1\nline 2\nline 3')
  await workspace.destroy()
})

test('reconnection', { timeout: 120_000 }, async () => {
  const id = `mastra-${randomUUID().slice(0, 8)}`
  const sandbox = new DaytonaSandbox({ id, apiUrl })
  await sandbox._start()
  await sandbox.executeCommand('sh', ['-c', 'echo "session 1" > /home/daytona/state.txt'])
  await sandbox._stop()
  const again = new DaytonaSandbox({ id, apiUrl })
  await again._start()
  const result = await again.executeCommand('cat', ['/home/daytona/state.txt'])
  assert.equal(result.stdout.trim(), 'session 1')
  await again._destroy()
})
