// The oldest client that can be installed, and the calls of 0.7.0, which differs from it in the names of its methods and
// in a folder that it does not send. Both know workspaces only, and the toolbox by way of the API.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import test, { after, before } from 'node:test'

import manifest from 'daytona-0.9.2/package.json' with { type: 'json' }
import client from 'daytona-0.9.2'

const { Daytona } = client
const VERSION = '0.9.2'
const unique = () => `t-${randomUUID().slice(0, 12)}`

assert.equal(manifest.version, VERSION)

const API = process.env.DAYTONA_API_URL
const KEY = process.env.DAYTONA_API_KEY
// The base with a slash at its end: the client puts its paths behind it as they are, with two slashes then.
const daytona = new Daytona({ apiKey: KEY, serverUrl: `${API}/`, target: 'local' })

let workspace
before(async () => {
  workspace = await daytona.create({ id: unique(), envVars: { A: 'one' }, language: 'python' })
})
after(() => daytona.remove(workspace))

const check = (name, body) => test(`${VERSION}: ${name}`, body)

check('a workspace has the id that its client chose, and lives and ends by it', async () => {
  const id = unique()
  const one = await daytona.create({ id, autoStopInterval: 30 })
  try {
    assert.equal(one.id, id)
    assert.equal(one.instance.state, 'started')
    await assert.rejects(daytona.create({ id }), (error) => error.response.status === 409)
    assert.ok((await daytona.list()).some((found) => found.id === one.instance.id))
    await one.process.executeCommand('echo kept > kept')
    await daytona.stop(one)
    await daytona.start(one)
    const again = await daytona.get(id)
    assert.equal((await again.process.executeCommand('cat kept')).result.trim(), 'kept')
  } finally {
    await daytona.remove(one)
  }
})

check('the example of the documentation works', async () => {
  const page = await readFile(new URL('../../../docs/sdks.md', import.meta.url), 'utf8')
  let [, example] = page.match(/```js\n(.*?)```/s)
  for (const [shown, here] of [
    ["'@daytonaio/sdk'", `'daytona-${VERSION}'`],
    ['KEY', JSON.stringify(KEY)],
    ["'http://127.0.0.1:3000/api'", JSON.stringify(API)],
  ]) {
    assert.ok(example.includes(shown), `the example has ${shown}`)
    example = example.replace(shown, here)
  }
  // Beside the tests, since packages are looked for from there.
  const file = new URL(`example-${unique()}.mjs`, import.meta.url)
  await writeFile(file, `${example}\nexport default daytona\n`)
  try {
    const { default: documented } = await import(file)
    assert.ok((await documented.list()).some((found) => found.id === workspace.instance.id))
  } finally {
    await rm(file)
  }
})

check('commands and programs run', async () => {
  const { process } = workspace
  const result = await process.executeCommand('echo $A; pwd; exit 3', '/tmp')
  assert.deepEqual([result.exitCode, result.result.trim()], [3, 'one\n/tmp'])
  const run = await process.codeRun('print("h\\u00e9llo", 6 * 7)')
  assert.deepEqual([run.exitCode, run.result.trim()], [0, 'héllo 42'])
  await assert.rejects(process.executeCommand('sleep 300', undefined, 1), (error) => error.response.status === 408)
})

check('a session keeps its state, and its logs are text', async () => {
  const { process } = workspace
  const id = unique()
  await process.createSession(id)
  const first = await process.executeSessionCommand(id, { command: 'cd /tmp; export B=two; echo out; echo err >&2' })
  assert.equal(first.exitCode, 0)
  const second = await process.executeSessionCommand(id, { command: 'pwd; echo $B' })
  assert.equal(second.output.trim(), '/tmp\ntwo')
  const logs = await process.getSessionCommandLogs(id, first.cmdId)
  assert.deepEqual(logs.trim().split('\n').sort(), ['err', 'out'])
  assert.equal((await process.getSession(id)).commands.length, 2)
  assert.equal((await process.getSessionCommand(id, second.cmdId)).exitCode, 0)
  assert.ok((await process.listSessions()).some((session) => session.sessionId === id))
  await process.deleteSession(id)
  assert.ok(!(await process.listSessions()).some((session) => session.sessionId === id))
})

check('files are made, found, changed and moved', async () => {
  const { fs } = workspace
  const root = await workspace.getWorkspaceRootDir()
  const folder = `${root}/${unique()}`
  await fs.createFolder(folder, '755')
  await fs.uploadFile(`${folder}/a.txt`, new File(['a needle\n'], 'a.txt'))
  assert.equal(String(await fs.downloadFile(`${folder}/a.txt`)), 'a needle\n')
  assert.deepEqual((await fs.listFiles(folder)).map((file) => [file.name, file.isDir, file.size]), [['a.txt', false, 9]])
  assert.deepEqual((await fs.searchFiles(folder, '*.txt')).files, [`${folder}/a.txt`])
  const [match] = await fs.findFiles(folder, 'needle')
  assert.deepEqual([match.file, match.line], [`${folder}/a.txt`, 1])
  await fs.replaceInFiles([`${folder}/a.txt`], 'needle', 'pin')
  await fs.setFilePermissions(`${folder}/a.txt`, { mode: '600' })
  await fs.moveFiles(`${folder}/a.txt`, `${folder}/b.txt`)
  assert.equal((await fs.getFileDetails(`${folder}/b.txt`)).mode.slice(-9), 'rw-------')
  assert.equal(String(await fs.downloadFile(`${folder}/b.txt`)), 'a pin\n')
  await fs.deleteFile(`${folder}/b.txt`)
  assert.deepEqual(await fs.listFiles(folder), [])
})

check('the calls of 0.7.0 are answered as it reads them', async () => {
  // As axios of that age sends them: no version, and a form's type where there is no body.
  const call = async (method, path, body) => {
    const headers = { Authorization: `Bearer ${KEY}`, Accept: 'application/json, text/plain, */*' }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    else if (method === 'POST') headers['Content-Type'] = 'application/x-www-form-urlencoded'
    const answer = await fetch(`${API}/${path}`, { method, headers, body: body && JSON.stringify(body) })
    const text = await answer.text()
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
    return text
  }
  const json = async (...request) => JSON.parse(await call(...request))
  const id = unique()
  const made = await json('POST', '/workspace', { id, name: id, env: {}, target: 'local' })
  assert.deepEqual([made.state, typeof made.labels], ['started', 'object'])
  assert.equal((await json('GET', `/workspace/${id}`)).state, 'started')
  const toolbox = `/toolbox/${made.id}/toolbox`
  const execute = (body) => json('POST', `${toolbox}/process/execute`, body)
  // processExecuteCommand and codeRun, which is for Python whatever the language.
  assert.deepEqual(await execute({ command: 'echo one', timeout: 10 }), { exitCode: 0, result: 'one\n' })
  const code = Buffer.from('print(6 * 7)').toString('base64')
  const command = `python3 -c "exec(__import__('base64').b64decode('${code}').decode())"`
  assert.equal((await execute({ command })).result.trim(), '42')
  // createSession, executeSession, getExecuteSessionCommandLogs, listSessions, deleteSession.
  await call('POST', `${toolbox}/process/session`, { sessionId: 's' })
  const ran = await json('POST', `${toolbox}/process/session/s/exec`, { command: 'echo two; echo three >&2' })
  assert.equal(typeof ran.output, 'string')
  assert.ok(!/[\u0001\u0002]/.test(ran.output), 'no markers of streams')
  const logs = await call('GET', `${toolbox}/process/session/s/command/${ran.cmdId}/logs`)
  assert.deepEqual(logs.trim().split('\n').sort(), ['three', 'two'])
  const begun = await json('POST', `${toolbox}/process/session/s/exec`, { command: 'true', async: true })
  assert.ok(begun.cmdId)
  const sessions = await json('GET', `${toolbox}/process/session`)
  assert.equal(sessions.find((session) => session.sessionId === 's').commands.length, 2)
  await call('DELETE', `${toolbox}/process/session/s`)
  assert.ok((await json('GET', `${toolbox}/project-dir`)).dir.startsWith('/'))
  await call('POST', `/workspace/${id}/stop`)
  await call('POST', `/workspace/${id}/start`)
  await call('DELETE', `/workspace/${id}?force=true`)
})
