import { suite } from './workspaces.mjs'

await suite('0.17.0')
