// Sessions: a shell that lives, and the logs of what ran in it.

import assert from 'node:assert/strict'

import { DaytonaBadRequestError, DaytonaConflictError, DaytonaGoneError, DaytonaNotFoundError } from '@daytonaio/sdk'

import { rejects, testSandbox, waitUntil } from './support.mjs'

/** A test with the session `work`. */
function testSession(name, body) {
  testSandbox(name, async (sandbox) => {
    const process = sandbox.process
    await process.createSession('work')
    await body({
      process,
      run: (command, options) => process.executeSessionCommand('work', { command, ...options }),
      async begin(command, options) {
        const answer = await process.executeSessionCommand('work', { command, runAsync: true, ...options })
        assert.ok(answer.exitCode == null)
        return answer.cmdId
      },
      async exitCode(id) {
        return waitUntil(async () => {
          const command = await process.getSessionCommand('work', id)
          return command.exitCode === undefined ? null : { code: command.exitCode }
        }, 'the end of the command').then(({ code }) => code)
      },
      async logs(id) {
        const logs = await process.getSessionCommandLogs('work', id)
        return [logs.stdout, logs.stderr]
      },
      /** Reads the live logs to their end. `onChunk` sees all so far whenever a piece comes. */
      async follow(id, onChunk = () => {}) {
        const seen = ['', '']
        const taker = (stream) => (text) => {
          seen[stream] += text
          onChunk(seen)
        }
        await process.getSessionCommandLogs('work', id, taker(0), taker(1))
        return seen
      },
    })
  })
}

testSession('a command answers both streams and its exit code', async (session) => {
  const answer = await session.run('echo out; echo err >&2; (exit 3)')
  assert.deepEqual([answer.stdout, answer.stderr, answer.exitCode], ['out\n', 'err\n', 3])
  assert.deepEqual(await session.logs(answer.cmdId), ['out\n', 'err\n'])
})

testSession('a session remembers, and lists its commands in order', async (session) => {
  await session.run('cd /tmp; A=1; f() { echo "f $1"; }')
  assert.equal((await session.run('pwd; echo $A; f x')).stdout, '/tmp\n1\nf x\n')
  const { commands } = await session.process.getSession('work')
  assert.deepEqual(commands.map((command) => [command.command.slice(0, 3), command.exitCode]), [['cd ', 0], ['pwd', 0]])
})

testSession('sessions are listed and deleted with all that runs in them', async (session) => {
  await session.process.createSession('other')
  const list = async () => (await session.process.listSessions()).map((one) => one.sessionId).sort()
  assert.deepEqual(await list(), ['other', 'work'])
  await session.begin('sleep 300 & sleep 301')
  const sleeping = async () => (await session.process.executeCommand('pgrep -c sleep')).result
  await waitUntil(async () => (await sleeping()) === '2\n', 'the start of the command')
  await session.process.deleteSession('work')
  assert.equal(await sleeping(), '0\n')
  assert.deepEqual(await list(), ['other'])
})

testSession('live logs come while the command runs and keep the streams apart', async (session) => {
  const id = await session.begin(
    "echo 'out ä'; echo 'err ☃' >&2; until [ -e go ]; do sleep 0.01; done; echo out2; echo err2 >&2; (exit 4)",
  )
  const seen = await session.follow(id, ([out, err]) => {
    // The command cannot end before both first lines have come here.
    if (out === 'out ä\n' && err === 'err ☃\n') session.process.executeCommand('touch go')
  })
  assert.deepEqual(seen, ['out ä\nout2\n', 'err ☃\nerr2\n'])
  assert.equal(await session.exitCode(id), 4)
  assert.deepEqual(await session.logs(id), seen)
  assert.deepEqual(await session.follow(id), seen, 'once more, after its end')
})

testSession('long live logs arrive whole', async (session) => {
  const id = await session.begin('seq 1 100000; seq 1 1000 >&2')
  const numbers = (count) => Array.from({ length: count }, (_, n) => `${n + 1}\n`).join('')
  const [out, err] = await session.follow(id)
  // Not compared as a whole: the description of a difference would take minutes.
  assert.ok(out === numbers(100000), `${out.length} characters of output`)
  assert.equal(err, numbers(1000))
})

testSession('input reaches a running command, echoed unless told otherwise', async (session) => {
  for (const [suppressInputEcho, expected] of [
    [true, 'got some words\n'],
    [undefined, 'some words\ngot some words\n'],
  ]) {
    const id = await session.begin('read line; echo "got $line"', { suppressInputEcho })
    await session.process.sendSessionCommandInput('work', id, 'some words')
    assert.equal(await session.exitCode(id), 0)
    assert.deepEqual(await session.logs(id), [expected, ''])
    await rejects(session.process.sendSessionCommandInput('work', id, 'late'), DaytonaGoneError)
  }
})

testSession('each failure has its error class', async (session) => {
  const process = session.process
  await rejects(process.createSession('work'), DaytonaConflictError)
  await rejects(process.getSession('other'), DaytonaNotFoundError)
  await rejects(process.deleteSession('other'), DaytonaNotFoundError)
  await rejects(process.executeSessionCommand('other', { command: 'true' }), DaytonaNotFoundError)
  await rejects(process.getSessionCommand('work', 'other'), DaytonaNotFoundError)
  await rejects(process.getSessionCommandLogs('work', 'other'), DaytonaNotFoundError)
  await rejects(session.run(' '), DaytonaBadRequestError)
  assert.equal((await session.run('exit 5')).exitCode, 5)
  await rejects(session.run('true'), DaytonaGoneError)
})
