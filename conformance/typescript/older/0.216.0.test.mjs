import { suite } from './suite.mjs'

// Under its newer name, `@daytona/sdk`.
await suite('0.216.0')
