// Commands and source text.

import assert from 'node:assert/strict'

import { DaytonaProcessExecutionTimeoutError, DaytonaTimeoutError } from '@daytonaio/sdk'

import { rejects, testSandbox, testWith } from './support.mjs'

testSandbox('a command is run by a shell and both streams come back in order', async (sandbox) => {
  const result = await sandbox.process.executeCommand("printf 'a\\nb\\n' | grep b && echo one; echo two >&2; echo $((1 + 2))")
  assert.deepEqual([result.exitCode, result.result], [0, 'b\none\ntwo\n3\n'])
  assert.equal(result.artifacts.stdout, result.result)
})

testWith('directory and variables of a command are its own', async (create) => {
  const sandbox = await create({ envVars: { A: '1', B: '1' } })
  const run = async (...args) => (await sandbox.process.executeCommand(...args)).result
  assert.equal(await run('pwd'), `${await sandbox.getWorkDir()}\n`)
  assert.equal(await run('pwd', '/tmp'), '/tmp\n')
  const value = 'it\'s "$HOME" `x` \\ ä\n2'
  assert.equal(await run('printf "%s/%s" "$A" "$B"', undefined, { B: value }), `1/${value}`)
  assert.equal(await run('echo $B'), '1\n')
  assert.equal(await sandbox.getUserHomeDir(), '/home/daytona')
})

testSandbox('the exit code is the command\'s', async (sandbox) => {
  for (const code of [0, 1, 42, 255]) {
    const result = await sandbox.process.executeCommand(`echo out; exit ${code}`)
    assert.deepEqual([result.exitCode, result.result], [code, 'out\n'])
  }
  const missing = await sandbox.process.executeCommand('no-such-command-here')
  assert.equal(missing.exitCode, 127)
  assert.match(missing.result, /no-such-command-here.*not found|not found.*no-such-command-here/)
})

testSandbox('a command that takes too long is ended', async (sandbox) => {
  const started = Date.now()
  const call = sandbox.process.executeCommand('sleep 300 & sleep 301', undefined, undefined, 1)
  const error = await rejects(call, DaytonaProcessExecutionTimeoutError, { statusCode: 408, source: 'DAYTONA_DAEMON' })
  assert.ok(error instanceof DaytonaTimeoutError)
  assert.ok(Date.now() - started < 5000)
  assert.equal((await sandbox.process.executeCommand('pgrep -a sleep')).result, '')
})

testSandbox('long output and output that is not text arrive', async (sandbox) => {
  const long = await sandbox.process.executeCommand('seq 1 300000')
  assert.ok(long.result === Array.from({ length: 300000 }, (_, n) => `${n + 1}\n`).join(''), `${long.result.length} characters`)
  assert.equal((await sandbox.process.executeCommand("printf 'a\\377b\\303\\244'")).result, 'a\uFFFDbä')
})

const PROGRAMS = {
  python: ['import os, sys\nprint(sys.argv[1:], os.environ["A"], repr(sys.stdin.read()))', `['a b', '$HOME', ''] 1'2 ''\n`],
  javascript: [
    "console.log(JSON.stringify(process.argv.slice(2)), process.env.A, require('fs').readFileSync(0).length)",
    `["a b","$HOME",""] 1'2 0\n`,
  ],
  typescript: [
    "import * as fs from 'fs'\nconst list: string[] = process.argv.slice(2)\n" +
      'console.log(JSON.stringify(list), process.env.A as string, fs.readFileSync(0).length)',
    `["a b","$HOME",""] 1'2 0\n`,
  ],
}
for (const [language, [code, expected]] of Object.entries(PROGRAMS)) {
  testWith(`${language} gets its arguments, its variables and no input`, async (create) => {
    const sandbox = await create({ language })
    const result = await sandbox.process.codeRun(code, { argv: ['a b', '$HOME', ''], env: { A: "1'2" } })
    assert.deepEqual([result.exitCode, result.result], [0, expected])
    assert.deepEqual(result.artifacts, { stdout: expected, charts: [] })
  })
}

const FAILURES = [
  ['python', "print('before')\nraise ValueError('wrong')", 1, /before\nTraceback[^]*ValueError: wrong/],
  ['python', 'import sys; sys.exit(3)', 3, /^$/],
  ['javascript', "console.log('before'); throw new TypeError('wrong')", 1, /before\n[^]*TypeError: wrong/],
  ['javascript', 'process.exit(3)', 3, /^$/],
  ['typescript', "const n: number = 1; throw new TypeError('wrong ' + n)", 1, /TypeError: wrong 1/],
  ['typescript', 'process.exit(3 as number)', 3, /^$/],
]
for (const language of ['python', 'javascript', 'typescript']) {
  testWith(`the failure of ${language} code is told`, async (create) => {
    const sandbox = await create({ language })
    for (const [, code, exitCode, said] of FAILURES.filter(([of]) => of === language)) {
      const result = await sandbox.process.codeRun(code)
      assert.equal(result.exitCode, exitCode)
      assert.match(result.result, said)
    }
  })
}

testSandbox('code that takes too long is ended', async (sandbox) => {
  await rejects(sandbox.process.codeRun('import time; time.sleep(300)', undefined, 1), DaytonaProcessExecutionTimeoutError)
})
