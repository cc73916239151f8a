// The event socket, as the official client listens to it: polls are made to tell nothing.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { Daytona, DaytonaError } from '@daytonaio/sdk'

import { daytona, rejects, testSandbox } from './support.mjs'

const PROXY = fileURLToPath(new URL('../late-polls.py', import.meta.url))

/** Runs with a client of a server whose polls are useless. */
async function withLatePolls(options, body) {
  const proxy = spawn('python3', [PROXY, process.env.DAYTONA_API_URL, ...options], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    const [apiUrl] = await once(createInterface(proxy.stdout), 'line')
    const client = new Daytona({ apiUrl })
    await body(client)
    await client[Symbol.asyncDispose]()
  } finally {
    proxy.stdin.end()
    if (proxy.exitCode === null) await once(proxy, 'exit')
  }
}

testSandbox('a start is told by events where polls tell nothing', async (sandbox) => {
  await sandbox.stop()
  await withLatePolls([], async (client) => {
    const same = await client.get(sandbox.id)
    await same.start(60)
  })
  assert.equal((await daytona.get(sandbox.id)).state, 'started')
})

testSandbox('without events such a start is not told', async (sandbox) => {
  await sandbox.stop()
  await withLatePolls(['--no-events'], async (client) => {
    const same = await client.get(sandbox.id)
    await rejects(same.start(4), DaytonaError)
  })
  assert.equal((await daytona.get(sandbox.id)).state, 'stopped')
})
