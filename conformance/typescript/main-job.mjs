// The first program of a user. Run by programs.test.mjs, as it is, in a process of its own.

import { Daytona } from '@daytonaio/sdk'

const daytona = new Daytona()
const sandbox = await daytona.create({ language: 'python', envVars: { A: '1' }, labels: { k: 'v' } })
console.log((await sandbox.process.executeCommand('echo $A; id; pwd', undefined, undefined, 10)).result)
console.log((await sandbox.process.codeRun('import sys; print(sys.version)')).result)
await sandbox.fs.uploadFile(Buffer.alloc(10_000_000, 'x'), 'data.bin')
console.log((await sandbox.fs.downloadFile('data.bin')).length)
await sandbox.process.createSession('s')
console.log((await sandbox.process.executeSessionCommand('s', { command: 'cd /tmp; B=2; echo sync' })).stdout)
const command = await sandbox.process.executeSessionCommand('s', { command: 'echo $B in $PWD', runAsync: true })
while ((await sandbox.process.getSessionCommand('s', command.cmdId)).exitCode === undefined);
console.log((await sandbox.process.getSessionCommandLogs('s', command.cmdId)).stdout)
await sandbox.stop()
await sandbox.start()
console.log((await sandbox.process.executeCommand('stat -c %s data.bin')).result)
await daytona.delete(sandbox)
console.log('last line')
