// The life of sandboxes: stop, start and delete, and what else is made of them.

import assert from 'node:assert/strict'

import {
  Daytona,
  DaytonaBadRequestError,
  DaytonaConflictError,
  DaytonaInvalidArgumentError,
  DaytonaNotFoundError,
  DaytonaTimeoutError,
} from '@daytonaio/sdk'

import { collect, daytona, rejects, testPause, testSandbox, testWith, unique, unlessGone, waitUntil } from './support.mjs'

// Any number of bytes that are not the same everywhere.
const NOISE = Buffer.concat(Array(5000).fill(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))))

const run = async (sandbox, command) => {
  const { exitCode, result } = await sandbox.process.executeCommand(command)
  assert.equal(exitCode, 0, result)
  return result
}

const stateOf = async (sandbox) => (await daytona.get(sandbox.id)).state

const archive = async (sandbox) => {
  await sandbox.archive()
  // The client itself waits for nothing.
  assert.ok(['archiving', 'archived'].includes(sandbox.state), sandbox.state)
  await waitUntil(async () => {
    await sandbox.refreshData()
    return sandbox.state === 'archived'
  }, 'the archive')
}

/** A test with the name of a snapshot that is deleted after it, before the sandboxes are. */
const testSnapshot = (name, body) =>
  testWith(name, async (create) => {
    const snapshot = unique()
    try {
      await body(create, snapshot)
    } finally {
      await daytona.snapshot.get(snapshot).then((made) => daytona.snapshot.delete(made), unlessGone)
    }
  })

testWith('files survive a stop and processes do not', async (create) => {
  const sandbox = await create({ envVars: { A: '1' } })
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'file')
  await sandbox.process.executeCommand('nohup sleep 300 > /dev/null 2>&1 &')
  await sandbox.process.createSession('s')
  await sandbox.stop()
  assert.equal(sandbox.state, 'stopped')
  await rejects(sandbox.process.executeCommand('true'), DaytonaBadRequestError, { message: /not started/ })
  await sandbox.start()
  assert.equal(sandbox.state, 'started')
  assert.equal((await sandbox.fs.downloadFile('file')).toString(), 'kept')
  assert.equal((await sandbox.process.executeCommand('echo $A; pgrep -a sleep')).result, '1\n')
  assert.deepEqual(await sandbox.process.listSessions(), [])
})

testWith('a deleted sandbox is gone', async (create) => {
  const sandbox = await create()
  await sandbox.delete(60, true)
  assert.equal(sandbox.state, 'destroyed')
  await rejects(daytona.get(sandbox.id), DaytonaNotFoundError)
  await rejects(sandbox.delete(), DaytonaNotFoundError)
  await rejects(sandbox.process.executeCommand('true'), DaytonaNotFoundError)
})

testWith('a stop by somebody else is told by an event', async (create) => {
  const sandbox = await create()
  const byEvent = new Daytona()
  const listening = await byEvent.get(sandbox.id)
  const deaf = await new Daytona({ useDeprecatedPolling: true }).get(sandbox.id)
  await waitUntil(() => byEvent.eventDispatcher.isConnected, 'the event connection')
  await sandbox.stop()
  await waitUntil(() => listening.state === 'stopped', 'the event')
  assert.equal(deaf.state, 'started', 'without events nothing can have changed it')
  await byEvent[Symbol.asyncDispose]()
})

testWith('a stopped sandbox is seen as stopped by all', async (create) => {
  const sandbox = await create()
  await daytona.stop(sandbox)
  assert.equal(await stateOf(sandbox), 'stopped')
  await daytona.start(sandbox)
  assert.equal(await stateOf(sandbox), 'started')
})

testSandbox('a stop can be forced', async (sandbox) => {
  await sandbox.process.createSession('s')
  await sandbox.stop(60, true)
  assert.equal(sandbox.state, 'stopped')
  assert.equal(await stateOf(sandbox), 'stopped')
})

testSandbox('a stopped sandbox can be deleted', async (sandbox) => {
  await sandbox.stop()
  await daytona.delete(sandbox, 60, true)
  await rejects(daytona.get(sandbox.id), DaytonaNotFoundError)
})

testSandbox('a sandbox can be waited for while another client changes it', async (sandbox) => {
  const other = await daytona.get(sandbox.id)
  await other.stop()
  await sandbox.waitUntilStopped()
  assert.equal(sandbox.state, 'stopped')
  await rejects(sandbox.waitUntilStarted(0.5), DaytonaTimeoutError)
  await other.start()
  await sandbox.waitUntilStarted()
  assert.equal(sandbox.state, 'started')
})

testSandbox('data is refreshed with what others changed', async (sandbox) => {
  const other = await daytona.get(sandbox.id)
  await other.setLabels({ other: '1' })
  await other.setAutostopInterval(33)
  assert.notEqual(sandbox.autoStopInterval, 33)
  await sandbox.refreshData()
  assert.deepEqual([sandbox.labels, sandbox.autoStopInterval], [{ other: '1' }, 33])
  await other.delete(60, true)
  await rejects(sandbox.refreshData(), DaytonaNotFoundError)
})

testSandbox('activity can be told', async (sandbox) => {
  const lastActivity = async () => new Date((await daytona.get(sandbox.id)).lastActivityAt ?? 0)
  const before = await lastActivity()
  await sandbox.refreshActivity()
  await waitUntil(async () => {
    await sandbox.refreshActivity()
    return (await lastActivity()) > before
  }, 'a later activity')
})

testWith('a stopped sandbox is archived, and a start brings it back whole', async (create) => {
  const name = unique()
  const sandbox = await create({ name, envVars: { A: '1' }, labels: { mine: name } })
  await sandbox.fs.uploadFile(NOISE, 'file')
  await run(sandbox, 'chmod 640 file; ln -s file link; sudo touch /etc/mine')
  const before = await run(sandbox, "stat -c '%a %U %Y' file; ls -l /etc/mine")
  await sandbox.stop()
  await archive(sandbox)
  assert.equal(sandbox.backupState, 'Completed')
  const found = await collect(daytona.list({ labels: { mine: name }, states: ['archived'] }))
  assert.deepEqual(
    found.map((other) => other.id),
    [sandbox.id],
  )

  await sandbox.start()
  assert.equal(sandbox.state, 'started')
  assert.equal(await stateOf(sandbox), 'started')
  assert.ok(NOISE.equals(await sandbox.fs.downloadFile('link')))
  assert.equal(await run(sandbox, "stat -c '%a %U %Y' file; ls -l /etc/mine"), before)
  assert.equal(await run(sandbox, 'echo $A'), '1\n')
})

testSandbox('a running sandbox is not archived and runs on', async (sandbox) => {
  await sandbox.process.executeCommand('nohup sleep 300 > /dev/null 2>&1 &')
  await rejects(sandbox.archive(), DaytonaBadRequestError, {
    statusCode: 400,
    code: 'SANDBOX_NOT_ARCHIVABLE',
    message: /not stopped/,
  })
  assert.equal(await stateOf(sandbox), 'started')
  assert.match(await run(sandbox, 'pgrep -x sleep'), /\d/)
})

testSandbox('an archived sandbox does nothing but start and go', async (sandbox) => {
  await sandbox.stop()
  await archive(sandbox)
  for (const call of [
    () => sandbox.archive(),
    () => sandbox.stop(),
    () => sandbox.pause(),
    () => sandbox.recover(),
    () => sandbox.fork(),
    () => sandbox.createSnapshot('never'),
    () => sandbox.resize({ cpu: 2 }),
    () => sandbox.process.executeCommand('true'),
  ]) {
    await rejects(call(), DaytonaBadRequestError)
    assert.equal(await stateOf(sandbox), 'archived')
  }
  await sandbox.delete(60, true)
  await rejects(daytona.get(sandbox.id), DaytonaNotFoundError)
})

testPause('a paused sandbox stands still and goes on where it was', async (create) => {
  const log = 'while :; do date +%s%N >> times; sleep 0.02; done'
  const sandbox = await create()
  const other = await create()
  const [writer] = await Promise.all(
    [sandbox, other].map((one) => run(one, `nohup sh -c '${log}' > /dev/null 2>&1 & echo $!`)),
  )
  const lines = async (one) => Number(await run(one, 'cat times 2> /dev/null | wc -l'))
  await waitUntil(() => lines(sandbox), 'the first line')
  await sandbox.pause()
  const begun = process.hrtime.bigint()
  assert.equal(sandbox.state, 'paused')
  assert.equal(await stateOf(sandbox), 'paused')
  await rejects(sandbox.process.executeCommand('true'), DaytonaBadRequestError, { message: /not started/ })
  const before = await lines(other)
  await waitUntil(async () => (await lines(other)) > before + 20, 'many lines in the other one')
  const held = process.hrtime.bigint() - begun
  await sandbox.start()
  assert.equal(sandbox.state, 'started')
  const after = await lines(sandbox)
  await waitUntil(async () => (await lines(sandbox)) > after, 'another line')
  await run(sandbox, `kill ${writer}`)
  const times = (await run(sandbox, 'cat times')).trim().split('\n').map(BigInt)
  assert.ok(times.some((time, index) => index > 0 && time - times[index - 1] >= held))
})

testPause('a paused sandbox can be stopped and deleted', async (create) => {
  const sandbox = await create()
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'file')
  await sandbox.pause()
  await rejects(sandbox.pause(), DaytonaBadRequestError)
  await rejects(sandbox.archive(), DaytonaBadRequestError, { message: /not stopped/ })
  await sandbox.stop()
  assert.equal(sandbox.state, 'stopped')
  await rejects(sandbox.pause(), DaytonaBadRequestError, { message: /not started/ })
  await sandbox.start()
  assert.equal(String(await sandbox.fs.downloadFile('file')), 'kept')
  await sandbox.pause()
  await sandbox.delete(60, true)
  await rejects(daytona.get(sandbox.id), DaytonaNotFoundError)
})

const sizes = ({ cpu, memory, disk }) => [cpu, memory, disk]

/** As the agent sees them; of a disk the file system takes some for itself. */
const sizesInside = async (sandbox) => {
  const { cpuCount, memTotal, diskTotal } = await sandbox.getMetricsLatest()
  return [cpuCount, memTotal / 2 ** 30, Math.ceil(diskTotal / 2 ** 30)]
}

testSandbox('a running sandbox gets more processors and memory', async (sandbox) => {
  const [cpu, memory, disk] = sizes(sandbox)
  assert.deepEqual(await sizesInside(sandbox), [cpu, memory, disk])
  await sandbox.process.executeCommand('nohup sleep 300 > /dev/null 2>&1 &')
  const larger = [cpu + 1, memory + 1, disk]
  await sandbox.resize({ cpu: cpu + 1, memory: memory + 1 })
  assert.equal(sandbox.state, 'started')
  for (const seen of [sandbox, await daytona.get(sandbox.id)]) assert.deepEqual(sizes(seen), larger)
  assert.deepEqual(await sizesInside(sandbox), larger)
  assert.match(await run(sandbox, 'pgrep -x sleep'), /\d/, 'it was not restarted')
})

testSandbox('a stopped sandbox gets a larger disk and less of the rest', async (sandbox) => {
  await sandbox.fs.uploadFile(NOISE, 'file')
  const [cpu, memory, disk] = sizes(sandbox)
  await sandbox.resize({ cpu: cpu + 1, memory: memory + 1 })
  await sandbox.stop()
  await sandbox.resize({ cpu, memory, disk: disk + 2 })
  assert.equal(sandbox.state, 'stopped')
  assert.deepEqual(sizes(await daytona.get(sandbox.id)), [cpu, memory, disk + 2])
  await sandbox.start()
  assert.deepEqual(await sizesInside(sandbox), [cpu, memory, disk + 2])
  assert.ok(NOISE.equals(await sandbox.fs.downloadFile('file')))
  await run(sandbox, `fallocate -l ${disk}G more`)
})

testSandbox('sizes that cannot be had are refused and change nothing', async (sandbox) => {
  const [cpu, memory, disk] = sizes(sandbox)
  for (const [resources, message] of [
    [{ disk: disk + 1 }, /stopped/],
    [{ cpu: 10 ** 6 }, /cpu/],
    [{ memory: 0 }, /memory/],
    [{}, /at least one/],
    [{ cpu, memory }, /at least one/],
  ]) {
    await rejects(sandbox.resize(resources), DaytonaBadRequestError, { statusCode: 400, message })
  }
  // The client itself.
  await rejects(sandbox.resize({ gpu: 1 }), DaytonaInvalidArgumentError, { message: /gpu/ })
  assert.deepEqual(sizes(await daytona.get(sandbox.id)), [cpu, memory, disk])
  await sandbox.resize({ cpu: cpu + 1 })
  await rejects(sandbox.resize({ cpu }), DaytonaBadRequestError, { message: /stopped/ })
  await sandbox.stop()
  await rejects(sandbox.resize({ disk: disk - 1 }), DaytonaBadRequestError, { message: /smaller/ })
  assert.deepEqual(sizes(await daytona.get(sandbox.id)), [cpu + 1, memory, disk])
})

testWith('a fork begins with the files and goes its own way', async (create, keep) => {
  const name = unique()
  const parent = await create({ envVars: { A: '1' }, labels: { mine: name }, language: 'javascript' })
  await parent.fs.uploadFile(NOISE, 'file')
  await parent.process.executeCommand('nohup sleep 300 > /dev/null 2>&1 &')
  const child = keep(await parent.fork({ name }))
  assert.deepEqual([child.state, child.name], ['started', name])
  assert.notEqual(child.id, parent.id)
  assert.equal((await daytona.get(name)).id, child.id)
  assert.deepEqual([...sizes(child), child.snapshot, child.user], [...sizes(parent), parent.snapshot, parent.user])
  assert.deepEqual(child.labels, { mine: name, 'code-toolbox-language': 'javascript' })
  assert.ok(NOISE.equals(await child.fs.downloadFile('file')))
  assert.equal(await run(child, 'echo $A'), '1\n')
  assert.equal((await child.process.executeCommand('pgrep -x sleep')).result, '', 'files only')
  assert.equal(await stateOf(parent), 'started')
  assert.match(await run(parent, 'pgrep -x sleep'), /\d/, 'the parent ran on')

  await parent.fs.uploadFile(Buffer.from('of the parent'), 'file')
  await child.fs.uploadFile(Buffer.from('of the child'), 'other')
  assert.notEqual((await parent.process.executeCommand('ls other')).exitCode, 0)
  await parent.delete(60, true)
  assert.ok(NOISE.equals(await child.fs.downloadFile('file')))
  await child.stop()
  await child.start()
  assert.equal(String(await child.fs.downloadFile('other')), 'of the child')
})

testWith('forks know where they come from', async (create, keep) => {
  const name = unique()
  const parent = await create({ name })
  await parent.stop()
  const child = keep(await daytona.fork(parent))
  assert.equal(child.name, child.id)
  assert.equal(await stateOf(parent), 'stopped', 'and its fork is started')
  const grandchild = keep(await child._experimental_fork())
  const other = keep(await daytona._experimental_fork(parent))
  // Only the generated client can ask for it.
  const api = daytona.sandboxApi
  const ids = ({ data }) => data.map((sandbox) => sandbox.id)
  assert.deepEqual(ids(await api.getSandboxForks(parent.id)), [child.id, other.id])
  assert.deepEqual(ids(await api.getSandboxForks(child.id)), [grandchild.id])
  assert.deepEqual(ids(await api.getSandboxForks(grandchild.id)), [])
  assert.equal((await api.getSandboxParent(grandchild.id)).data.id, child.id)
  assert.deepEqual(ids(await api.getSandboxAncestors(grandchild.id)), [parent.id, child.id])
  await rejects(child.fork({ name }), DaytonaConflictError, { statusCode: 409, message: new RegExp(name) })
})

testSnapshot('a snapshot of a sandbox is what others begin with', async (create, name) => {
  const source = await create()
  await source.fs.uploadFile(NOISE, 'file')
  await run(source, 'sudo touch /etc/mine')
  await source.createSnapshot(name)
  assert.equal(source.state, 'started')
  assert.equal(await stateOf(source), 'started')
  const snapshot = await daytona.snapshot.get(name)
  assert.deepEqual([snapshot.name, snapshot.state, snapshot.general], [name, 'active', false])
  assert.deepEqual([snapshot.cpu, snapshot.mem, snapshot.disk], sizes(source))
  await rejects(source.createSnapshot(name), DaytonaConflictError, { statusCode: 409, message: new RegExp(name) })

  // Neither what comes later nor the end of its source matters to it.
  await source.fs.uploadFile(Buffer.from('later'), 'file')
  await source.delete(60, true)
  const other = await create({ snapshot: name })
  assert.equal(other.snapshot, name)
  assert.ok(NOISE.equals(await other.fs.downloadFile('file')))
  assert.equal(await run(other, 'id -un; pwd; ls /etc/mine'), 'daytona\n/home/daytona\n/etc/mine\n')
})

testSnapshot('a stopped sandbox stays stopped while a snapshot is made of it', async (create, name) => {
  const source = await create()
  await source.fs.uploadFile(Buffer.from('kept'), 'file')
  await source.stop()
  await source._experimental_createSnapshot(name)
  assert.equal(await stateOf(source), 'stopped')
  assert.equal(String(await (await create({ snapshot: name })).fs.downloadFile('file')), 'kept')
  await rejects(source.createSnapshot(''), DaytonaBadRequestError, { message: /name/ })
})

testWith('what failed is recovered once its reason is gone', async (create) => {
  const volume = await daytona.volume.get(unique(), true)
  const mounted = { volumes: [{ volumeId: volume.id, mountPath: '/data' }] }
  const sandbox = await create(mounted)
  const other = await create(mounted)
  await rejects(sandbox.recover(), DaytonaBadRequestError, { code: 'SANDBOX_NOT_RECOVERABLE', message: /recoverable/ })
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'file')
  // The users are a file in the volume, so that another sandbox can take one away and give it back.
  await run(sandbox, 'sudo cp /etc/passwd /data/passwd && sudo ln -sf /data/passwd /etc/passwd')
  await sandbox.stop()
  await run(other, 'sudo sed -i s/^daytona:/gone:/ /data/passwd')
  await rejects(sandbox.start(), DaytonaBadRequestError, { message: /daytona/ })
  await sandbox.refreshData()
  assert.deepEqual([sandbox.state, sandbox.recoverable], ['error', true])
  assert.match(sandbox.errorReason, /daytona/)
  await rejects(sandbox.recover(), DaytonaBadRequestError, { message: /daytona/ })
  await run(other, 'sudo sed -i s/^gone:/daytona:/ /data/passwd')
  await sandbox.recover()
  assert.deepEqual([sandbox.state, (await daytona.get(sandbox.id)).recoverable], ['started', false])
  assert.equal(String(await sandbox.fs.downloadFile('file')), 'kept')
  for (const mounting of [sandbox, other]) await daytona.delete(mounting, 60, true)
  await daytona.volume.delete(volume)
})
