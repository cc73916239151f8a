// Ports of sandboxes, as the official client hands out their addresses.

import assert from 'node:assert/strict'
import http from 'node:http'

import { testSandbox, testWith, waitUntil } from './support.mjs'

const PORT = 3456
const SERVE = `mkdir -p www && echo inside > www/page && cd www && python3 -m http.server ${PORT} --bind 127.0.0.1`

/** Status and body of the page, whatever this machine makes of names below localhost. */
function look(url, headers = {}) {
  const { host, port } = new URL(url)
  const options = { host: '127.0.0.1', port, path: '/page', headers: { host, ...headers }, agent: false }
  return new Promise((resolve, reject) => {
    const request = http.get(options, async (answer) => {
      let body = ''
      for await (const piece of answer) body += piece
      resolve([answer.statusCode, body])
    })
    request.on('error', reject)
  })
}

/** Starts a server that only the sandbox's own loopback reaches. */
async function serve(sandbox) {
  await sandbox.process.createSession('server')
  await sandbox.process.executeSessionCommand('server', { command: SERVE, runAsync: true })
  const link = await sandbox.getPreviewLink(PORT)
  const headers = { 'X-Daytona-Preview-Token': link.token }
  await waitUntil(async () => (await look(link.url, headers))[0] === 200, 'a server that answers')
  return link
}

testSandbox('a link shows the port to who has the token', async (sandbox) => {
  const link = await serve(sandbox)
  assert.deepEqual(await look(link.url, { 'X-Daytona-Preview-Token': link.token }), [200, 'inside\n'])
  assert.equal((await look(link.url))[0], 401)
  assert.equal((await look(link.url, { 'X-Daytona-Preview-Token': 'guess' }))[0], 401)
})

testSandbox('a signed URL needs nothing else until it is ended', async (sandbox) => {
  await serve(sandbox)
  const signed = await sandbox.getSignedPreviewUrl(PORT, 600)
  assert.deepEqual([signed.sandboxId, signed.port], [sandbox.id, PORT])
  assert.deepEqual(await look(signed.url), [200, 'inside\n'])
  await sandbox.expireSignedPreviewUrl(PORT, signed.token)
  assert.equal((await look(signed.url))[0], 401)
})

testWith('a public sandbox shows its ports to everybody', async (create) => {
  const sandbox = await create({ public: true })
  const link = await serve(sandbox)
  assert.deepEqual(await look(link.url), [200, 'inside\n'])
})
