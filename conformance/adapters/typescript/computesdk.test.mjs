// `@computesdk/daytona`: the quick start of its README.

import assert from 'node:assert/strict'
import test from 'node:test'

import { daytona } from '@computesdk/daytona'

test('the quick start', { timeout: 120_000 }, async () => {
  const compute = daytona({ apiKey: process.env.DAYTONA_API_KEY })
  const sandbox = await compute.sandbox.create()
  try {
    const result = await sandbox.runCommand('python -c "print(\"Hello from Daytona!\")"')
    assert.equal(typeof result.stdout, 'string')
    const quoted = await sandbox.runCommand(`python - <<'PY'\nimport json\nprint(json.dumps({"message": "Hello from Python"}))\nPY`)
    assert.deepEqual(JSON.parse(quoted.stdout), { message: 'Hello from Python' })
    await sandbox.filesystem.mkdir('/tmp/data')
    await sandbox.filesystem.writeFile('/tmp/data/hello.py', 'print("Hello World")')
    assert.equal((await sandbox.filesystem.readFile('/tmp/data/hello.py')).trim(), 'print("Hello World")')
    assert.deepEqual((await sandbox.filesystem.readdir('/tmp/data')).map((entry) => entry.name), ['hello.py'])
    await sandbox.filesystem.remove('/tmp/data/hello.py')
    assert.equal(await sandbox.filesystem.exists('/tmp/data/hello.py'), false)
    const info = await sandbox.getInfo()
    assert.equal(info.provider, 'daytona')
    assert.ok((await compute.sandbox.list()).some((found) => found.sandboxId === sandbox.sandboxId))
    assert.equal((await compute.sandbox.getById(sandbox.sandboxId)).sandboxId, sandbox.sandboxId)
  } finally {
    await sandbox.destroy()
  }
})
