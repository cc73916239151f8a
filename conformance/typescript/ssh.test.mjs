// Tokens for SSH, as the official client asks for them.

import assert from 'node:assert/strict'

import { testSandbox } from './support.mjs'

testSandbox('a token is given, valid, and revoked', async (sandbox) => {
  const access = await sandbox.createSshAccess(10)
  assert.equal(access.sandboxId, sandbox.id)
  assert.match(access.sshCommand, new RegExp(`^ssh -p \\d+ ${access.token}@`))
  assert.equal(new Date(access.expiresAt) - new Date(access.createdAt), 600_000)
  const found = await sandbox.validateSshAccess(access.token)
  assert.deepEqual([found.valid, found.sandboxId], [true, sandbox.id])
  await sandbox.revokeSshAccess(access.token)
  assert.equal((await sandbox.validateSshAccess(access.token)).valid, false)
})
