import { suite } from './suite.mjs'

await suite('0.25.6')
