// Interpreter contexts, charts, and TypeScript as source text.

import assert from 'node:assert/strict'

import { DaytonaNotFoundError, DaytonaTimeoutError } from '@daytonaio/sdk'

import { rejects, testSandbox, testWith } from './support.mjs'

testSandbox('state is kept and output is streamed', async (sandbox) => {
  const interpreter = sandbox.codeInterpreter
  await interpreter.runCode('x = 20\nimport os')
  const heard = []
  const result = await interpreter.runCode("print(x + 1)\nos.system('echo child; echo oops >&2')", {
    onStdout: (message) => heard.push(message.output),
  })
  assert.deepEqual([result.stdout, result.stderr, result.error], ['21\nchild\n', 'oops\n', undefined])
  assert.equal(heard.join(''), result.stdout)
})

testSandbox('an exception is an error, a time-out is one of the call', async (sandbox) => {
  const interpreter = sandbox.codeInterpreter
  const { error } = await interpreter.runCode('kept = 1\n1/0')
  assert.deepEqual([error.name, error.value], ['ZeroDivisionError', 'division by zero'])
  await rejects(interpreter.runCode('while True: pass', { timeout: 1 }), DaytonaTimeoutError)
  assert.equal((await interpreter.runCode('print(kept)')).stdout, '1\n')
})

testSandbox('contexts are apart from each other', async (sandbox) => {
  const interpreter = sandbox.codeInterpreter
  await interpreter.runCode('x = 1')
  const context = await interpreter.createContext('/tmp')
  const code = "import os; print(os.getcwd(), 'x' in globals(), os.environ['A'])"
  assert.equal((await interpreter.runCode(code, { context, envs: { A: 'b c' } })).stdout, '/tmp False b c\n')
  assert.deepEqual((await interpreter.listContexts()).map(({ id }) => id), [context.id])
  await interpreter.deleteContext(context)
  assert.deepEqual(await interpreter.listContexts(), [])
  await rejects(interpreter.deleteContext(context), DaytonaNotFoundError)
})

// The client has no parameter for the language; the context is made by the API it is built on.
testSandbox('contexts of TypeScript and JavaScript', async (sandbox) => {
  const interpreter = sandbox.codeInterpreter
  const { data: typed } = await interpreter.apiClient.createInterpreterContext({ language: 'typescript' })
  const run = async (code, context) => {
    const { stdout, error } = await interpreter.runCode(code, { context, timeout: 60 })
    return error ? `${error.name}: ${error.value}` : stdout
  }
  assert.equal(await run('interface A { x: number }\nconst a: A = { x: 1 }\nenum E { P = 3 }\nconsole.log(a.x, E.P)', typed), '1 3\n')
  assert.equal(await run("import { join } from 'path'\nconst b = await Promise.resolve<string>(join('c', 'd'))", typed), '')
  assert.equal(await run('console.log(a.x as any, b)', typed), '1 c/d\n')
  assert.match(await run('let q: = 3', typed), /^SyntaxError/)
  const { data: plain } = await interpreter.apiClient.createInterpreterContext({ language: 'javascript' })
  assert.equal(await run('const x = await Promise.resolve(1)', plain), '')
  assert.equal(await run('console.log(x, typeof a)', plain), '1 undefined\n')
})

testWith('TypeScript is run with its arguments as they are', async (create) => {
  const sandbox = await create({ language: 'typescript' })
  const code = "import { sep } from 'path'\nenum E { P = 3 }\nconst x: number = E.P\nconsole.log(x, sep, process.argv.slice(2))\nprocess.exit(4)"
  const result = await sandbox.process.codeRun(code, { argv: ['a b', '$(x)'] })
  assert.deepEqual([result.exitCode, result.result], [4, "3 / [ 'a b', '$(x)' ]\n"])
})

testSandbox('charts come with their numbers', async (sandbox) => {
  const code = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 2.5])\nplt.title('T')\nplt.show()\nprint('shown')"
  const { result, exitCode, artifacts } = await sandbox.process.codeRun(code)
  assert.deepEqual([exitCode, result], [0, 'shown\n'])
  const [chart] = artifacts.charts
  assert.deepEqual([chart.type, chart.title], ['bar', 'T'])
  assert.deepEqual(chart.elements.map(({ label, value }) => [label, value]), [['a', '1'], ['b', '2.5']])
  assert.ok(Buffer.from(chart.png, 'base64').subarray(1, 4).equals(Buffer.from('PNG')))
})
