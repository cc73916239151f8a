// What a sandbox may reach.

import assert from 'node:assert/strict'

import { DaytonaBadRequestError } from '@daytonaio/sdk'

import { daytona, rejects, testWith } from './support.mjs'

const gateway = "$(awk '/nameserver/ {print $2}' /etc/resolv.conf)"

/** Whether the name server lets the sandbox connect: it is there whatever else the machine reaches. */
const resolverAnswers = async (sandbox) => {
  const command = `bash -c "exec 3<>/dev/tcp/${gateway}/53" 2>/dev/null`
  return (await sandbox.process.executeCommand(command)).exitCode === 0
}

testWith('a policy is set with the create, changed while the sandbox runs, and kept', async (create) => {
  const sandbox = await create({ networkBlockAll: true })
  assert.equal(sandbox.networkBlockAll, true)
  assert.equal(await resolverAnswers(sandbox), false)

  await sandbox.updateNetworkSettings({ networkBlockAll: false })
  assert.equal(sandbox.networkBlockAll, false)
  assert.equal(await resolverAnswers(sandbox), true)

  await sandbox.updateNetworkSettings({ networkAllowList: '203.0.113.0/24' })
  const found = await daytona.get(sandbox.id)
  assert.deepEqual([found.networkBlockAll, found.networkAllowList], [false, '203.0.113.0/24'])
  assert.equal(await resolverAnswers(sandbox), false)

  await sandbox.updateNetworkSettings({ networkAllowList: '', domainAllowList: 'a.invalid,*.Example.com' })
  assert.equal((await daytona.get(sandbox.id)).domainAllowList, 'a.invalid,*.example.com')
  assert.equal(await resolverAnswers(sandbox), true)

  await rejects(sandbox.updateNetworkSettings({ networkAllowList: '::/0' }), DaytonaBadRequestError, {
    message: /networkAllowList/,
  })
  await rejects(sandbox.updateNetworkSettings({ domainAllowList: 'a..b' }), DaytonaBadRequestError, {
    message: /domainAllowList/,
  })
})
