import { suite } from './suite.mjs'

await suite('0.150.0')
