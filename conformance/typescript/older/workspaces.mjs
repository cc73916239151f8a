// What the releases from 0.17 to 0.20 must be able to do, which know workspaces whose ids the server chooses.
//
// The generated client that 0.20.0 asks for is gone from the registry. With the one before it all works but uploads, whose
// method is new in 0.20: here it is sent as that release sends it.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test, { after, before } from 'node:test'

const API = process.env.DAYTONA_API_URL
const KEY = process.env.DAYTONA_API_KEY
const unique = () => `t-${randomUUID().slice(0, 12)}`

/** Runs the suite with the package `daytona-VERSION`. */
export async function suite(version) {
  const { default: manifest } = await import(`daytona-${version}/package.json`, { with: { type: 'json' } })
  assert.equal(manifest.version, version)
  const { default: client } = await import(`daytona-${version}`)
  const { Daytona, SandboxTargetRegion } = client
  const daytona = new Daytona({ apiKey: KEY, apiUrl: API, target: SandboxTargetRegion.US })
  const hasUploads = version === '0.17.0'

  let workspace
  before(async () => {
    workspace = await daytona.create({ language: 'python', envVars: { A: 'one' } })
  })
  after(() => daytona.delete(workspace))

  const check = (name, body) => test(`${version}: ${name}`, body)

  async function upload(path, content) {
    if (hasUploads) return workspace.fs.uploadFile(path, new File([content], 'name'))
    const form = new FormData()
    form.append('files[0].path', path)
    form.append('files[0].file', new Blob([content]), path)
    const place = `${API}/toolbox/${workspace.id}/toolbox/files/bulk-upload`
    const answer = await fetch(place, { method: 'POST', body: form, headers: { Authorization: `Bearer ${KEY}` } })
    assert.ok(answer.ok, await answer.text())
  }

  check('a workspace lives, is found by its labels, and ends', async () => {
    const label = unique()
    const one = await daytona.create({ language: 'python', labels: { mine: label }, autoStopInterval: 30 })
    try {
      assert.equal(one.instance.state, 'started')
      assert.equal(one.instance.autoStopInterval, 30)
      assert.deepEqual((await daytona.list({ mine: label })).map((found) => found.id), [one.id])
      assert.equal((await daytona.findOne({ labels: { mine: label } })).id, one.id)
      assert.ok((await daytona.list()).some((found) => found.id === one.id))
      await one.process.executeCommand('sh -c "echo kept > kept"')
      await one.setAutostopInterval(20)
      await one.setLabels({ mine: label, more: 'ä' })
      await daytona.stop(one)
      await daytona.start(one)
      const again = await daytona.get(one.id)
      assert.deepEqual([again.instance.autoStopInterval, again.instance.labels.more], [20, 'ä'])
      assert.equal((await again.process.executeCommand('cat kept')).result.trim(), 'kept')
      assert.match((await one.getPreviewLink(3000)).url, /3000-/)
      assert.equal((await one.info()).state, 'started')
    } finally {
      await daytona.delete(one)
    }
  })

  check('commands and programs run', async () => {
    const { process } = workspace
    const result = await process.executeCommand('sh -c "pwd; exit 3"', '/tmp')
    assert.deepEqual([result.exitCode, result.result.trim()], [3, '/tmp'])
    assert.equal((await process.executeCommand('echo $A $B', undefined, { B: 'two' })).result.trim(), 'one two')
    const run = await process.codeRun('print("h\\u00e9llo", 6 * 7)')
    assert.deepEqual([run.exitCode, run.result.trim()], [0, 'héllo 42'])
    await assert.rejects(process.executeCommand('sleep 300', undefined, undefined, 1))
  })

  check('a session keeps its state, and its logs are text', async () => {
    const { process } = workspace
    const id = unique()
    await process.createSession(id)
    const first = await process.executeSessionCommand(id, { command: 'cd /tmp; export B=two; echo out; echo err >&2' })
    assert.equal(first.exitCode, 0)
    assert.equal((await process.executeSessionCommand(id, { command: 'pwd; echo $B' })).output.trim(), '/tmp\ntwo')
    const logs = await process.getSessionCommandLogs(id, first.cmdId)
    assert.deepEqual(logs.trim().split('\n').sort(), ['err', 'out'])
    const slow = await process.executeSessionCommand(id, { command: 'echo one; sleep 0.2; echo two', runAsync: true })
    const chunks = []
    await process.getSessionCommandLogs(id, slow.cmdId, (chunk) => chunks.push(chunk))
    assert.equal(chunks.join('').trim(), 'one\ntwo')
    assert.equal((await process.getSessionCommand(id, slow.cmdId)).exitCode, 0)
    assert.equal((await process.getSession(id)).commands.length, 3)
    await process.deleteSession(id)
    assert.ok(!(await process.listSessions()).some((session) => session.sessionId === id))
  })

  check('files are made, found, changed and moved', async () => {
    const { fs } = workspace
    const folder = `/tmp/${unique()}`
    await fs.createFolder(folder, '755')
    await upload(`${folder}/a.txt`, 'a needle\n')
    assert.equal(String(await fs.downloadFile(`${folder}/a.txt`)), 'a needle\n')
    assert.deepEqual((await fs.listFiles(folder)).map((file) => [file.name, file.isDir, file.size]), [['a.txt', false, 9]])
    assert.deepEqual((await fs.searchFiles(folder, '*.txt')).files, [`${folder}/a.txt`])
    const [match] = await fs.findFiles(folder, 'needle')
    assert.deepEqual([match.file, match.line], [`${folder}/a.txt`, 1])
    await fs.replaceInFiles([`${folder}/a.txt`], 'needle', 'pin')
    await fs.setFilePermissions(`${folder}/a.txt`, { mode: '600' })
    await fs.moveFiles(`${folder}/a.txt`, `${folder}/b.txt`)
    assert.equal((await fs.getFileDetails(`${folder}/b.txt`)).mode.slice(-9), 'rw-------')
    await fs.deleteFile(`${folder}/b.txt`)
    assert.deepEqual(await fs.listFiles(folder), [])
  })

  check('a volume is shared', async () => {
    const volume = await daytona.volume.get(unique(), true)
    const volumes = [{ volumeId: volume.id, mountPath: '/data' }]
    const made = [await daytona.create({ language: 'python', volumes }), await daytona.create({ language: 'python', volumes })]
    try {
      assert.equal((await made[0].process.executeCommand('sh -c "echo one > /data/file"')).exitCode, 0)
      assert.equal((await made[1].process.executeCommand('cat /data/file')).result.trim(), 'one')
    } finally {
      for (const one of made) await daytona.delete(one)
    }
  })
}
