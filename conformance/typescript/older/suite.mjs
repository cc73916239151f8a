// What an older release of the official client must be able to do. Each `*.test.mjs` here runs it with one release.
//
// One sandbox serves all tests that only work inside: each uses names of its own.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

for (const variable of ['DAYTONA_API_URL', 'DAYTONA_API_KEY']) {
  assert.ok(process.env[variable], `${variable} is not set: run the tests by scripts/with-server.sh`)
}

const EVERY_BYTE = Buffer.from(Array.from({ length: 768 }, (_, n) => n % 256))

const unique = () => `t-${randomUUID().slice(0, 12)}`

/** Waits for something that comes by itself; never longer than `seconds`. */
async function waitUntil(condition, what, seconds = 60) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const value = await condition()
    if (value) return value
    assert.ok(Date.now() < deadline, `${what} did not come within ${seconds} s`)
    await pause(20)
  }
}

/** Runs the suite with the package `daytona-VERSION`; all versions are 0.MINOR. */
export async function suite(version) {
  const { default: manifest } = await import(`daytona-${version}/package.json`, { with: { type: 'json' } })
  assert.equal(manifest.version, version)
  const { Daytona, DaytonaError, Image } = await import(`daytona-${version}`)
  const minor = Number(version.split('.')[1])
  const daytona = new Daytona()
  const created = []
  const create = async (params) => {
    created.push(await daytona.create(params))
    return created.at(-1)
  }
  // Before 0.156 the client puts values into the text of a shell without quoting them.
  const value = minor < 156 ? 'one' : 'it\'s "$HOME" `x` \\ ä'
  const isDaytonaError = (error) => error instanceof DaytonaError

  let sandbox
  before(async () => {
    sandbox = await create()
  })
  after(() => Promise.all(created.map((one) => daytona.delete(one).catch(() => {}))))

  /** A test that releases before `since` skip, since they do not have what it tests. */
  const check = (name, { since = 0 }, body) => test(`${version}: ${name}`, { skip: minor < since }, body)

  const items = async (labels) => {
    // Newer ones read all pages by themselves.
    if (minor > 200) return Array.fromAsync(daytona.list({ labels }))
    const listed = await daytona.list(labels)
    // Lists are arrays before 0.108 and pages from then on.
    return minor < 108 ? listed : listed.items
  }

  check('a volume is shared by sandboxes', {}, async () => {
    const name = unique()
    const volume = await daytona.volume.get(name, true)
    assert.equal((await daytona.volume.get(name)).id, volume.id)
    assert.ok((await daytona.volume.list()).some((found) => found.id === volume.id))
    const volumes = [{ volumeId: volume.id, mountPath: '/data' }]
    const [one, other] = [await create({ volumes }), await create({ volumes })]
    assert.equal((await one.process.executeCommand('echo one > /data/file')).exitCode, 0)
    assert.equal((await other.process.executeCommand('cat /data/file')).result.trim(), 'one')
    await assert.rejects(daytona.volume.delete(volume))
    for (const sandbox of [one, other]) await daytona.delete(sandbox)
    await daytona.volume.delete(volume)
    assert.ok(!(await daytona.volume.list()).some((found) => found.id === volume.id))
  })

  check('a sandbox lives and ends', {}, async () => {
    const label = unique()
    const one = await create({ labels: { mine: label }, envVars: { A: '1' }, autoStopInterval: 30 })
    assert.equal(one.state, 'started')
    assert.equal(one.autoStopInterval, 30)
    const found = await daytona.get(one.id)
    assert.equal((await found.process.executeCommand('echo $A')).result.trim(), '1')
    assert.deepEqual((await items({ mine: label })).map((item) => item.id), [one.id])
    assert.deepEqual(await items({ mine: 'another' }), [])
    assert.ok((await items()).some((item) => item.id === one.id), 'a list without labels has everything')

    await one.setLabels({ mine: label, more: 'ä' })
    assert.deepEqual((await items({ mine: label }))[0].labels, { mine: label, more: 'ä' })

    await one.process.executeCommand('echo kept > kept')
    await one.stop()
    assert.equal((await daytona.get(one.id)).state, 'stopped')
    await one.start()
    assert.equal(one.state, 'started')
    assert.equal((await one.process.executeCommand('cat kept')).result.trim(), 'kept')

    await one.setAutostopInterval(0)
    await one.setAutoArchiveInterval(60)
    await one.setAutoDeleteInterval(-1)
    await one.refreshData()
    assert.deepEqual([one.autoStopInterval, one.autoArchiveInterval, one.autoDeleteInterval], [0, 60, -1])

    await one.delete()
    // Deletes are answered before the sandbox has gone.
    const state = () => daytona.get(one.id).then((found) => found.state, (error) => isDaytonaError(error) && 'destroyed')
    await waitUntil(async () => (await state()) === 'destroyed', 'the end of the sandbox')
  })

  check('a delete that is done before the client asks again is no failure', {}, async () => {
    const one = await create()
    const url = `${process.env.DAYTONA_API_URL}/sandbox/${one.id}`
    const headers = { Authorization: `Bearer ${process.env.DAYTONA_API_KEY}` }
    const isGoneForOthers = async () => (await fetch(url, { headers })).status === 404
    const refresh = one.refreshData
    // Releases before 0.111 ask for the sandbox when its delete was answered, and fail if they are refused.
    one.refreshData = async () => {
      await waitUntil(isGoneForOthers, 'the end of the sandbox')
      return refresh.call(one)
    }
    await one.delete()
    await waitUntil(isGoneForOthers, 'the end of the sandbox')
  })

  check('a command is run by a shell, where it is told, with its variables', {}, async () => {
    const run = (...args) => sandbox.process.executeCommand(...args)
    const result = await run("printf 'a\\nb\\n' | grep b && echo \"$((1 + 1))\"; echo \"c  'd'\"; exit 3")
    assert.deepEqual([result.exitCode, result.result.trim()], [3, "b\n2\nc  'd'"])
    assert.equal((await run('echo one; echo two >&2; echo three')).result.trim(), 'one\ntwo\nthree')
    assert.equal((await run('pwd', '/tmp')).result.trim(), '/tmp')
    assert.equal((await run('printf "%s\\n" "$B"', undefined, { B: value })).result.trim(), value)
  })

  check('a command that takes too long is ended', {}, async () => {
    const started = Date.now()
    await assert.rejects(sandbox.process.executeCommand('sleep 300', undefined, undefined, 1), isDaytonaError)
    assert.ok(Date.now() - started < 5000)
  })

  for (const [language, code] of [
    ['python', "import os, sys\nprint(' '.join(sys.argv[-2:]))\nprint(os.environ['A'])"],
    ['javascript', "console.log(process.argv.slice(-2).join(' ')); console.log(process.env.A)"],
    ['typescript', "const list: string[] = process.argv.slice(-2); console.log(list.join(' ')); console.log(process.env.A as string)"],
  ]) {
    check(`${language} gets its arguments and its variables`, {}, async () => {
      const one = await create({ language })
      const result = await one.process.codeRun(code, { argv: ['one', 'two'], env: { A: value } })
      assert.deepEqual([result.exitCode, result.result.trim()], [0, `one two\n${value}`], result.result)
    })
  }

  check('a chart is taken out of the output', {}, async () => {
    const code = "import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4])\nplt.title('A line')\nplt.show()\nprint('drawn')"
    const result = await sandbox.process.codeRun(code)
    assert.equal(result.result.trim(), 'drawn')
    assert.deepEqual(result.artifacts.charts.map((chart) => [chart.type, chart.title]), [['line', 'A line']])
  })

  /** A test with a session. Before 0.27 a log is one text of both streams. */
  const isCombined = minor < 27
  const checkSession = (name, options, body) =>
    check(name, options, async () => {
      const id = unique()
      const { process } = sandbox
      await process.createSession(id)
      await body({
        id,
        process,
        run: (command) => process.executeSessionCommand(id, { command }),
        begin: async (command) => (await process.executeSessionCommand(id, { command, runAsync: true })).cmdId,
        exitCode: (command) =>
          waitUntil(async () => {
            const { exitCode } = await process.getSessionCommand(id, command)
            return exitCode == null ? null : { exitCode }
          }, 'the end of the command').then((ended) => ended.exitCode),
        logs: async (command) => texts(await process.getSessionCommandLogs(id, command)),
        async follow(command, onPiece = () => {}) {
          const seen = isCombined ? [''] : ['', '']
          const takers = seen.map((_, stream) => (piece) => {
            seen[stream] += piece
            onPiece(seen)
          })
          await process.getSessionCommandLogs(id, command, ...takers)
          return seen
        },
      })
      await process.deleteSession(id)
    })
  const texts = (answer) => {
    if (isCombined) return [typeof answer === 'string' ? answer : answer.output]
    return [answer.stdout, answer.stderr]
  }

  checkSession('a command answers its output without marks', {}, async (session) => {
    const answer = await session.run("echo 'out ä'; echo 'err ☃' >&2; printf end; (exit 3)")
    assert.equal(answer.exitCode, 3)
    for (const seen of [texts(answer), await session.logs(answer.cmdId), await session.follow(answer.cmdId)]) {
      if (isCombined) {
        for (const part of ['out ä\n', 'err ☃\n', 'end']) assert.ok(seen[0].includes(part), seen[0])
        assert.doesNotMatch(seen[0], /[\x01\x02]/)
      } else {
        assert.deepEqual(seen, ['out ä\nend', 'err ☃\n'])
      }
    }
  })

  checkSession('a session remembers and lists its commands', {}, async (session) => {
    await session.run('cd /tmp; A=1')
    assert.equal(texts(await session.run('echo $PWD $A'))[0], '/tmp 1\n')
    const { commands } = await session.process.getSession(session.id)
    assert.deepEqual(commands.map((one) => [one.command, one.exitCode]), [['cd /tmp; A=1', 0], ['echo $PWD $A', 0]])
    assert.ok((await session.process.listSessions()).some((one) => one.sessionId === session.id))
  })

  checkSession('live logs come while the command runs', {}, async (session) => {
    const mark = `/tmp/${unique()}`
    const command = await session.begin(`echo first; until [ -e ${mark} ]; do sleep 0.01; done; sleep 3; echo last; (exit 4)`)
    const seen = await session.follow(command, ([out]) => {
      // The command cannot end before its first line has come here. Clients before 0.27 look every two seconds of
      // silence whether it has ended.
      if (out === 'first\n') session.process.executeCommand(`touch ${mark}`)
    })
    assert.equal(seen[0], 'first\nlast\n')
    assert.equal(await session.exitCode(command), 4)
    assert.equal((await session.logs(command))[0], 'first\nlast\n')
  })

  checkSession('input reaches a running command', { since: 150 }, async (session) => {
    const command = await session.begin('read line; echo "got $line"')
    await session.process.sendSessionCommandInput(session.id, command, 'some words')
    assert.equal(await session.exitCode(command), 0)
    assert.match((await session.logs(command))[0], /got some words\n$/)
  })

  checkSession('what is missing is an error', {}, async ({ process, id }) => {
    await assert.rejects(process.createSession(id), isDaytonaError)
    await assert.rejects(process.getSession('missing'), isDaytonaError)
    await assert.rejects(process.getSessionCommand(id, 'missing'), isDaytonaError)
  })

  /** A test with a folder of the sandbox and one here. */
  const checkFolder = (name, options, body) =>
    check(name, options, async () => {
      const folder = `/tmp/${unique()}`
      const local = await mkdtemp(join(tmpdir(), 'conformance-'))
      try {
        await sandbox.fs.createFolder(folder, '755')
        await body(sandbox.fs, folder, local)
      } finally {
        await rm(local, { recursive: true })
      }
    })

  checkFolder('a file comes back as it was sent', {}, async (fs, folder, local) => {
    for (const name of ['plain.txt', 'with space', 'ünï/cödé', 'quote"\'s']) {
      await fs.uploadFile(EVERY_BYTE, `${folder}/${name}`)
      assert.deepEqual(await fs.downloadFile(`${folder}/${name}`), EVERY_BYTE, name)
    }
    await fs.downloadFile(`${folder}/plain.txt`, join(local, 'target'))
    assert.deepEqual(await readFile(join(local, 'target')), EVERY_BYTE)
  })

  checkFolder('many files go in one call', {}, async (fs, folder, local) => {
    await writeFile(join(local, 'source'), 'from a path')
    await fs.uploadFiles([
      { source: Buffer.from('one'), destination: `${folder}/deep/1` },
      { source: join(local, 'source'), destination: `${folder}/2` },
    ])
    assert.equal((await fs.downloadFile(`${folder}/deep/1`)).toString(), 'one')
    assert.equal((await fs.downloadFile(`${folder}/2`)).toString(), 'from a path')
  })

  checkFolder('many files come in one call', { since: 110 }, async (fs, folder) => {
    await fs.uploadFile(Buffer.from('one'), `${folder}/1`)
    const answers = await fs.downloadFiles([{ source: `${folder}/1` }, { source: `${folder}/missing` }])
    assert.equal(answers[0].result.toString(), 'one')
    assert.ok(answers[1].error && !answers[1].result)
  })

  checkFolder('a listing describes every entry', {}, async (fs, folder) => {
    await fs.uploadFile(Buffer.from('12345'), `${folder}/file`)
    await fs.setFilePermissions(`${folder}/file`, { mode: '640' })
    const [file] = await fs.listFiles(folder)
    assert.deepEqual([file.name, file.isDir, file.size, file.permissions, file.owner], ['file', false, 5, '0640', '1000'])
    assert.equal((await fs.getFileDetails(`${folder}/file`)).mode, '-rw-r-----')
  })

  checkFolder('text and names are found and text is replaced', {}, async (fs, folder) => {
    await fs.uploadFile(Buffer.from('one\ntwo wanted\n'), `${folder}/a.txt`)
    await fs.uploadFile(Buffer.from('nothing\n'), `${folder}/b.py`)
    const matches = await fs.findFiles(folder, 'wanted')
    assert.deepEqual(matches.map((one) => [one.file, one.line, one.content]), [[`${folder}/a.txt`, 2, 'two wanted']])
    assert.deepEqual((await fs.searchFiles(folder, '*.py')).files, [`${folder}/b.py`])
    const results = await fs.replaceInFiles([`${folder}/a.txt`, `${folder}/missing`], 'wanted', 'had')
    assert.deepEqual(results.map((one) => !!one.success), [true, false])
    assert.equal((await fs.downloadFile(`${folder}/a.txt`)).toString(), 'one\ntwo had\n')
  })

  checkFolder('files are moved and deleted, and missing ones are errors', {}, async (fs, folder) => {
    await fs.uploadFile(Buffer.from('x'), `${folder}/one`)
    await fs.moveFiles(`${folder}/one`, `${folder}/two`)
    await fs.deleteFile(`${folder}/two`)
    assert.deepEqual(await fs.listFiles(folder), [])
    await assert.rejects(fs.downloadFile(`${folder}/two`), isDaytonaError)
    await assert.rejects(fs.getFileDetails(`${folder}/two`), isDaytonaError)
  })

  check('a sandbox is made of an image, and its log is heard', {}, async () => {
    const word = unique()
    let logs = ''
    const image = Image.base('default').runCommands(`echo ${word} | tee /tmp/word`)
    const options = { timeout: 120, onSnapshotCreateLogs: (piece) => (logs += piece) }
    const built = await daytona.create({ image }, options)
    created.push(built)
    assert.equal(built.state, 'started')
    assert.ok(logs.includes(word), logs)
    const { result } = await built.process.executeCommand('cat /tmp/word')
    assert.equal(result.trim(), word)
  })

  check('a failed build says where', {}, async () => {
    const image = Image.base('default').runCommands(`echo ${unique()}; exit 3`)
    const failure = await daytona.create({ image }, { timeout: 120 }).catch((error) => error)
    assert.ok(failure instanceof Error, failure)
    // What 0.216 hears of by an event, it tells without the reason, which the sandbox has.
    const [, id] = /Sandbox (\S+) .*error reason: undefined/.exec(failure.message) ?? []
    assert.match(id ? (await daytona.get(id)).errorReason : failure.message, /exit code 3/)
  })
}
