import { suite } from './workspaces.mjs'

await suite('0.20.0')
