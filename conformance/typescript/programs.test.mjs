// Whole programs: they say what they should and end by themselves.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'node:test'
import { fileURLToPath } from 'node:url'

import { daytona } from './support.mjs'

// After its last line a program has nothing to wait for.
const END_MS = 5000

/** Runs a program to its end and returns its output. */
async function run(program) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  let limit
  let isLate = false
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
    if (!limit && output.endsWith('last line\n')) {
      limit = setTimeout(() => {
        isLate = true
        child.kill('SIGKILL')
      }, END_MS)
    }
  })
  const [code] = await once(child, 'close')
  clearTimeout(limit)
  assert.ok(!isLate, `${program} does not end within ${END_MS} ms after its last line`)
  assert.equal(code, 0, output)
  return output
}

test('the main job, as in Python', async () => {
  assert.match(
    await run('main-job.mjs'),
    new RegExp(
      '^1\\nuid=\\d+\\(daytona\\) gid=\\d+\\(daytona\\).*\\n/home/daytona\\n\\n' +
        '3\\.\\d+.*\\n\\n10000000\\nsync\\n\\n2 in /tmp\\n\\n10000000\\n\\nlast line\\n$',
    ),
  )
})

test('a program that leaves its sandbox running ends', async () => {
  const [hello, , id, last] = (await run('without-delete.mjs')).split('\n')
  assert.deepEqual([hello, last], ['hello', 'last line'])
  const sandbox = await daytona.get(id)
  assert.equal(sandbox.state, 'started')
  await daytona.delete(sandbox)
})
