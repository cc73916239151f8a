// Git: every operation that the client has, against a real `git http-backend` inside of the sandbox.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { DaytonaAuthenticationError, DaytonaConflictError, DaytonaNotFoundError } from '@daytonaio/sdk'

import { testSandbox, waitUntil } from './support.mjs'

const URL_OF_A = 'http://127.0.0.1:8090/git/a.git'
const ADA = ['ada', 'pass word']

async function serve(sandbox) {
  await sandbox.fs.uploadFile(await readFile(new URL('../git-server.py', import.meta.url)), 'git-server.py')
  await sandbox.process.createSession('git')
  const { cmdId } = await sandbox.process.executeSessionCommand('git', {
    command: 'exec python3 git-server.py',
    runAsync: true,
  })
  await waitUntil(async () => (await sandbox.process.getSessionCommandLogs('git', cmdId)).stdout?.includes('ready'), 'the git server')
}

testSandbox('a clone is changed and pushed', async (sandbox) => {
  await serve(sandbox)
  const { git } = sandbox
  await assert.rejects(git.clone(URL_OF_A, 'a'), DaytonaAuthenticationError)
  await assert.rejects(git.status('a'), DaytonaNotFoundError)
  await git.clone(URL_OF_A, 'a', undefined, undefined, ...ADA)
  await sandbox.fs.uploadFile(Buffer.from('x\n'), 'a/new')
  await git.add('a', ['.'])
  const { sha } = await git.commit('a', 'second', 'Ada', 'ada@example.com')
  assert.match(sha, /^[0-9a-f]{40}$/)
  assert.equal((await git.status('a')).ahead, 1)
  await git.push('a', ...ADA)
  await git.createBranch('a', 'topic')
  assert.deepEqual(await git.branches('a'), { branches: ['main', 'topic'], current: 'topic' })
  await git.push('a', ...ADA, undefined, undefined, true)
  await git.checkoutBranch('a', 'main')
  await git.deleteBranch('a', 'topic')
  await git.pull('a', ...ADA)
  await assert.rejects(git.commit('a', 'nothing', 'Ada', 'ada@example.com'), DaytonaConflictError)
  assert.deepEqual(await git.status('a'), {
    currentBranch: 'main',
    fileStatus: [],
    ahead: 0,
    behind: 0,
    branchPublished: true,
    detached: false,
    upstream: 'origin/main',
  })
  await git.dangerouslyAuthenticate(...ADA, '127.0.0.1:8090', 'http')
  await git.clone(URL_OF_A, 'b', 'topic')
})

testSandbox('local operations', async (sandbox) => {
  const { git } = sandbox
  await git.init('r', false, 'trunk')
  await git.configureUser('Ada', 'ada@example.com')
  assert.equal(await git.getConfig('user.email'), 'ada@example.com')
  await git.setConfig('core.x', '1', 'local', 'r')
  assert.equal(await git.getConfig('core.x', 'local', 'r'), '1')
  await sandbox.fs.uploadFile(Buffer.from('one\n'), 'r/file')
  await git.add('r', ['file'])
  await git.commit('r', 'm', 'Ada', 'ada@example.com')
  await sandbox.fs.uploadFile(Buffer.from('two\n'), 'r/file')
  await git.restore('r', ['file'])
  assert.equal((await sandbox.fs.downloadFile('r/file')).toString(), 'one\n')
  await git.reset('r', 'hard', 'HEAD')
  await git.remoteAdd('r', 'origin', 'https://example.com/a.git')
  assert.equal(await git.remoteGet('r', 'origin'), 'https://example.com/a.git')
})
