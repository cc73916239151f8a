// A program that leaves its sandbox running: an open event subscription must not keep the process for long.

import { Daytona } from '@daytonaio/sdk'

const sandbox = await new Daytona().create()
console.log((await sandbox.process.codeRun("print('hello')")).result)
console.log(sandbox.id)
console.log('last line')
