// Creating sandboxes: what is asked for is there when the call returns.

import assert from 'node:assert/strict'

import { CodeLanguage, Daytona } from '@daytonaio/sdk'

import { collect, daytona, testSandbox, testWith, unique } from './support.mjs'

testSandbox('a sandbox without parameters runs with the defaults', async (sandbox) => {
  assert.equal(sandbox.state, 'started')
  assert.match(sandbox.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  assert.equal(sandbox.name, sandbox.id)
  assert.equal(sandbox.snapshot, 'default')
  assert.equal(sandbox.user, 'daytona')
  assert.deepEqual(sandbox.env, {})
  assert.deepEqual(sandbox.labels, { 'code-toolbox-language': 'python' })
  assert.deepEqual([sandbox.public, sandbox.kvm, sandbox.networkBlockAll], [false, false, false])
  assert.deepEqual(
    [sandbox.autoStopInterval, sandbox.autoArchiveInterval, sandbox.autoDeleteInterval],
    [15, 10080, -1],
  )
  assert.ok(sandbox.cpu >= 1 && sandbox.memory >= 1 && sandbox.disk >= 1)
  assert.ok(sandbox.createdAt && sandbox.updatedAt && sandbox.organizationId && sandbox.toolboxProxyUrl)
})

testWith('create, stop and start answer the finished state', async (create) => {
  const { id } = await create()
  const polling = new Daytona({ useDeprecatedPolling: true })
  for (const [call, state] of [
    ['stopSandbox', 'stopped'],
    ['startSandbox', 'started'],
  ]) {
    assert.equal((await polling.sandboxApi[call](id)).data.state, state)
  }
  const answer = await polling.sandboxApi.createSandbox({})
  assert.deepEqual([answer.status, answer.data.state], [200, 'started'])
  await (await daytona.get(answer.data.id)).delete()
})

testWith('everything that can be asked for is kept', async (create) => {
  const name = unique()
  const sandbox = await create({
    name,
    language: CodeLanguage.TYPESCRIPT,
    envVars: { A: '1', EMPTY: '', UMLAUT: 'ä b' },
    labels: { k: 'v', 'a/b.c': '' },
    public: true,
    autoStopInterval: 7,
    autoArchiveInterval: 60,
    autoDeleteInterval: 120,
    ttlMinutes: 600,
  })
  for (const seen of [sandbox, await daytona.get(name)]) {
    assert.equal(seen.name, name)
    assert.deepEqual(seen.env, { A: '1', EMPTY: '', UMLAUT: 'ä b' })
    assert.deepEqual(seen.labels, { k: 'v', 'a/b.c': '', 'code-toolbox-language': 'typescript' })
    assert.equal(seen.public, true)
    assert.deepEqual([seen.autoStopInterval, seen.autoArchiveInterval, seen.autoDeleteInterval], [7, 60, 120])
    assert.ok(seen.autoDestroyAt)
  }
  const result = await sandbox.process.executeCommand('printf "%s|%s|%s" "$A" "${EMPTY-unset}" "$UMLAUT"')
  assert.equal(result.result, '1||ä b')
})

testWith('another user and a named snapshot can be asked for', async (create) => {
  const sandbox = await create({ user: 'root', snapshot: 'default' })
  assert.deepEqual([sandbox.user, sandbox.snapshot], ['root', 'default'])
  assert.equal((await sandbox.process.executeCommand('id -un')).result, 'root\n')
})

testWith('an ephemeral sandbox is gone once it is stopped', async (create) => {
  const sandbox = await create({ ephemeral: true })
  assert.equal(sandbox.autoDeleteInterval, 0)
  await sandbox.stop()
  assert.equal(sandbox.state, 'destroyed')
  assert.ok(!(await collect(daytona.list())).some((other) => other.id === sandbox.id))
})

testWith('twenty sandboxes can be created at once', async (create) => {
  const outputs = await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      const sandbox = await create({ envVars: { N: String(number) } })
      return (await sandbox.process.executeCommand('echo $N')).result
    }),
  )
  assert.deepEqual(outputs, Array.from({ length: 20 }, (_, number) => `${number}\n`))
})
