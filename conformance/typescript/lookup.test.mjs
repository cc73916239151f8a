// Finding sandboxes again, and changing them.

import assert from 'node:assert/strict'

import { DaytonaBadRequestError, DaytonaInvalidArgumentError } from '@daytonaio/sdk'

import { collect, daytona, rejects, testPause, testSandbox, testWith, unique } from './support.mjs'

const ids = async (query) => (await collect(daytona.list(query))).map((sandbox) => sandbox.id)

testWith('a sandbox is found by id and by name', async (create) => {
  const name = unique()
  const sandbox = await create({ name, envVars: { A: '1' } })
  for (const key of [sandbox.id, name]) {
    const found = await daytona.get(key)
    assert.deepEqual([found.id, found.name, found.state], [sandbox.id, name, 'started'])
    assert.equal((await found.process.executeCommand('echo $A')).result, '1\n')
  }
})

testWith('a name is free as soon as its delete is accepted', async (create) => {
  const name = unique()
  const first = await create({ name })
  await first.delete()
  assert.notEqual((await create({ name })).id, first.id)
})

testWith('a list item can be used like any sandbox', async (create) => {
  const mine = unique()
  const sandbox = await create({ labels: { mine }, envVars: { A: '1' }, language: 'javascript' })
  const [item, ...others] = await collect(daytona.list({ labels: { mine } }))
  assert.deepEqual([item.id, item.state, item.labels, others], [sandbox.id, 'started', sandbox.labels, []])
  assert.equal((await item.process.codeRun('console.log(process.env.A)')).result, '1\n')
  await item.refreshData()
  assert.deepEqual(item.env, { A: '1' })
  await item.stop()
  assert.equal(item.state, 'stopped')
})

testWith('pages are followed to the end, sorted as asked', async (create) => {
  const mine = unique()
  for (const letter of ['b', 'a', 'd', 'c', 'e']) await create({ name: `${mine}-${letter}`, labels: { mine } })
  for (const [order, expected] of [
    ['asc', 'abcde'],
    ['desc', 'edcba'],
  ]) {
    const found = await collect(daytona.list({ labels: { mine }, limit: 2, sort: 'name', order }))
    assert.equal(found.map((sandbox) => sandbox.name.at(-1)).join(''), expected)
  }
})

testWith('each filter keeps and leaves out', async (create) => {
  const mine = unique()
  const started = await create({ name: `${mine}-x`, labels: { mine, n: '1' } })
  const stopped = await create({ name: `${mine}-y`, labels: { mine, n: '2' }, public: true })
  await stopped.stop()
  const both = [started.id, stopped.id].sort()
  const longAgo = new Date(Date.now() - 86_400_000)
  const later = new Date(Date.now() + 86_400_000)
  for (const [query, expected] of [
    [{}, both],
    [{ labels: { mine, n: '2' } }, [stopped.id]],
    [{ labels: { mine, n: '3' } }, []],
    [{ states: ['started'] }, [started.id]],
    [{ states: ['started', 'stopped'] }, both],
    [{ name: `${mine}-x` }, [started.id]],
    [{ id: started.id.slice(0, 13) }, [started.id]],
    [{ isPublic: true }, [stopped.id]],
    [{ isPublic: false }, [started.id]],
    [{ snapshots: ['default'] }, both],
    [{ snapshots: ['another'] }, []],
    [{ targets: [started.target] }, both],
    [{ minCpu: started.cpu, maxMemoryGib: started.memory }, both],
    [{ minDiskGib: started.disk + 1 }, []],
    [{ createdAtAfter: longAgo, createdAtBefore: later }, both],
    [{ createdAtAfter: later }, []],
    [{ lastActivityBefore: longAgo }, []],
  ]) {
    assert.deepEqual((await ids({ labels: { mine }, ...query })).sort(), expected, JSON.stringify(query))
  }
})

testWith('labels are replaced as a whole', async (create) => {
  const old = unique()
  const sandbox = await create({ labels: { old } })
  const labels = { new: old, 'code-toolbox-language': 'javascript' }
  assert.deepEqual(await sandbox.setLabels(labels), labels)
  const found = await daytona.get(sandbox.id)
  assert.deepEqual(found.labels, labels)
  assert.deepEqual(await ids({ labels: { old } }), [])
  assert.equal((await found.process.codeRun('console.log(1 + 1)')).result, '2\n')
})

testSandbox('the intervals are set, kept and switched off', async (sandbox) => {
  const kept = async () => {
    const found = await daytona.get(sandbox.id)
    return [found.autoStopInterval, found.autoArchiveInterval, found.autoDeleteInterval, !!found.autoDestroyAt]
  }
  await sandbox.setAutostopInterval(30)
  await sandbox.setAutoArchiveInterval(120)
  await sandbox.setAutoDeleteInterval(240)
  await sandbox.setTtl(600)
  assert.deepEqual(await kept(), [30, 120, 240, true])
  await sandbox.setAutostopInterval(0)
  await sandbox.setAutoDeleteInterval(-1)
  await sandbox.setTtl(0)
  assert.deepEqual(await kept(), [0, 120, -1, false])
  await rejects(sandbox.setAutostopInterval(10 ** 9), DaytonaBadRequestError, { message: /autoStopInterval/ })
})

testSandbox('an interval of zero is the longest until an archive, and no time until a delete', async (sandbox) => {
  await sandbox.setAutoArchiveInterval(0)
  await sandbox.setAutoDeleteInterval(0)
  const found = await daytona.get(sandbox.id)
  assert.deepEqual([found.autoArchiveInterval, found.autoDeleteInterval], [43200, 0])
  await sandbox.stop()
  assert.equal(sandbox.state, 'destroyed')
  assert.ok(!(await collect(daytona.list())).some((other) => other.id === sandbox.id))
})

testPause('a pause by itself can take the place of a stop', async (create) => {
  const sandbox = await create()
  await sandbox.setAutostopInterval(0)
  await sandbox.setAutoPauseInterval(60)
  const found = await daytona.get(sandbox.id)
  assert.deepEqual([found.autoStopInterval, found.autoPauseInterval], [0, 60])
  await sandbox.setAutoPauseInterval(0)
  assert.equal((await daytona.get(sandbox.id)).autoPauseInterval, 0)
})

testSandbox('negative intervals are refused but for the delete', async (sandbox) => {
  for (const [setter, message] of [
    ['setAutostopInterval', /autoStopInterval/],
    ['setAutoArchiveInterval', /autoArchiveInterval/],
    ['setAutoPauseInterval', /autoPauseInterval/],
    ['setTtl', /ttlMinutes/],
  ]) {
    // By the client itself, and by the server where it is asked without it.
    await rejects(sandbox[setter](-1), DaytonaInvalidArgumentError, { message })
    await rejects(daytona.sandboxApi[setter](sandbox.id, -1), DaytonaBadRequestError, { statusCode: 400, message })
  }
  await sandbox.setAutoDeleteInterval(-5)
  const found = await daytona.get(sandbox.id)
  assert.deepEqual([found.autoStopInterval, found.autoArchiveInterval, found.autoDeleteInterval], [15, 10080, -1])
})
