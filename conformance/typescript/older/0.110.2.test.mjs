import { suite } from './suite.mjs'

await suite('0.110.2')
