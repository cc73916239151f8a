// Language servers: the real ones of the default image.

import assert from 'node:assert/strict'

import { DaytonaBadRequestError } from '@daytonaio/sdk'

import { rejects, testSandbox } from './support.mjs'

const GREETER = {
  python: ['greeter.py', 'class Greeter:\n    def greet(self, name):\n        return name\n\nGreeter().gr\n', { line: 4, character: 12 }],
  typescript: ['greeter.ts', 'export class Greeter {\n  greet(name: string) { return name }\n}\nnew Greeter().gr\n', { line: 3, character: 16 }],
  javascript: ['greeter.js', 'export class Greeter {\n  greet(name) { return name }\n}\nnew Greeter().gr\n', { line: 3, character: 16 }],
}

testSandbox('every language has its server from the first start to the stop', async (sandbox) => {
  for (const [language, [name, text, position]] of Object.entries(GREETER)) {
    await sandbox.fs.uploadFile(Buffer.from(text), `${language}/${name}`)
    const lsp = await sandbox.createLspServer(language, language)
    await lsp.start()
    await lsp.didOpen(name)
    const { items } = await lsp.completions(name, position)
    assert.ok(items.some((item) => (item.insertText ?? item.label) === 'greet'), language)
    const start = await lsp.completions(name, { line: 0, character: 0 })
    assert.ok(start.items.length > 0, language)
    const symbols = await lsp.documentSymbols(name)
    assert.deepEqual(symbols.map((symbol) => [symbol.name, symbol.kind]), [['Greeter', 5], ['greet', 6]])
    assert.equal(symbols[0].location.uri, `file:///home/daytona/${language}/${name}`)
    assert.deepEqual(symbols[0].location.range.start, { line: 0, character: 0 })
    if (language !== 'python') {
      const found = await lsp.sandboxSymbols('Greet')
      assert.ok(found.some((symbol) => symbol.name === 'Greeter' && symbol.location.uri === symbols[0].location.uri))
    }
    await lsp.didClose(name)
    await lsp.stop()
    await rejects(lsp.documentSymbols(name), DaytonaBadRequestError, { message: /not started/ })
  }
  const { result } = await sandbox.process.executeCommand("pgrep -fa 'pylsp|tsserver|language-server'")
  assert.equal(result, '')
})
