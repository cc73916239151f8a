// The worker of a JavaScript or TypeScript context: runs one piece of code after the other in one global scope.
//
// Descriptor 3 brings orders of the agent, descriptor 4 takes events back; a frame is four bytes of length, the
// highest first, and JSON. What the code prints goes to descriptors 1 and 2 like the output of any program.
//
// Code is evaluated by V8's own mode for consoles, reached by the inspector of this process (no port is opened):
// await works at the top level, and const, let and class stay, and may be declared again.
//
// The file is one function. It gets what only the start of Node.js has: `require` as programs have it, `load`, which
// is import(), and whether types have to be taken off first.
(function (require, load, isTyped) {
  'use strict'
  const fs = require('node:fs')
  const net = require('node:net')
  const path = require('node:path')
  const inspector = require('node:inspector')

  const ORDERS = 3
  const EVENTS = 4
  const FILE_NAME = '<stdin>'
  const MAX_TEXT = 256 << 10
  // The agent's clock decides about a time-out; V8 stops a loop without end just after.
  const TERMINATE_AFTER_MS = 50
  const GROUP = 'run'

  const session = new inspector.Session()
  session.connect()
  const post = (method, parameters) =>
    new Promise((resolve, reject) => {
      session.post(method, parameters, (error, result) => (error ? reject(error) : resolve(result)))
    })

  class Interrupted extends Error {}
  class Exit extends Error {}

  /** The execution that runs now. */
  let current = null

  function sendEvent(event) {
    const text = Buffer.from(JSON.stringify(event))
    let frame = Buffer.alloc(4 + text.length)
    frame.writeUInt32BE(text.length)
    text.copy(frame, 4)
    while (frame.length) frame = frame.subarray(fs.writeSync(EVENTS, frame))
  }

  const tidy = (text) => {
    const whole = String(text).toWellFormed?.() ?? String(text)
    return whole.length > MAX_TEXT ? `${whole.slice(0, MAX_TEXT)}…` : whole
  }

  // --- Imports -------------------------------------------------------------------------------------------------

  /** Text that takes the place of `old` and has as many lines. */
  const inPlace = (text, old) => text + '\n'.repeat(old.split('\n').length - 1)

  function importText(node) {
    const attributes = (node.attributes ?? []).map((each) => `${each.key.raw ?? each.key.name}: ${each.value.raw}`)
    const options = attributes.length ? `, { with: { ${attributes} } }` : ''
    const promise = `await __alcove_import(${node.source.raw}${options})`
    const names = []
    let whole = null
    for (const each of node.specifiers) {
      const local = each.local.name
      if (each.type === 'ImportNamespaceSpecifier') whole = local
      else if (each.type === 'ImportDefaultSpecifier') names.push(`default: ${local}`)
      else names.push(`${each.imported.raw ?? each.imported.name}: ${local}`)
    }
    if (whole && names.length) return `const ${whole} = ${promise}, { ${names} } = ${whole};`
    if (whole) return `const ${whole} = ${promise};`
    return names.length ? `const { ${names} } = ${promise};` : `${promise};`
  }

  /** Calls visit for each node of a tree. */
  function walk(node, visit) {
    if (Array.isArray(node)) for (const each of node) walk(each, visit)
    else if (node && typeof node.type === 'string') {
      visit(node)
      for (const key of Object.keys(node)) if (typeof node[key] === 'object') walk(node[key], visit)
    }
  }

  /**
   * A console has no modules: import declarations become calls, and export is dropped. Code that the parser does not
   * understand is left as it is; V8 says what is wrong with it.
   */
  function withoutModules(code) {
    if (!/\b(import|export)\b/.test(code)) return code
    let tree
    try {
      const { parse } = require('internal/deps/acorn/acorn/dist/acorn')
      tree = parse(code, { ecmaVersion: 'latest', sourceType: 'module' })
    } catch {
      return code
    }
    const edits = []
    walk(tree, (node) => {
      const { start, end } = node
      if (node.type === 'ImportExpression') edits.push([start, start + 'import'.length, '__alcove_import'])
      if (node.type === 'ImportDeclaration') edits.push([start, end, inPlace(importText(node), code.slice(start, end))])
      if (node.type === 'ExportNamedDeclaration' && node.declaration) {
        edits.push([start, node.declaration.start, inPlace('', code.slice(start, node.declaration.start))])
      }
    })
    edits.sort((one, other) => other[0] - one[0])
    for (const [start, end, text] of edits) code = code.slice(0, start) + text + code.slice(end)
    return code
  }

  Object.defineProperty(globalThis, '__alcove_import', { value: load })

  // --- Types ---------------------------------------------------------------------------------------------------

  function findTypeScript() {
    const folders = (process.env.PATH ?? '').split(path.delimiter).filter(Boolean)
    const compilers = folders.map((folder) => path.join(folder, 'tsc')).filter((file) => fs.existsSync(file))
    const places = [process.cwd(), ...compilers.map((file) => path.dirname(fs.realpathSync(file)))]
    try {
      return require(require.resolve('typescript', { paths: places }))
    } catch {
      return null
    }
  }

  let compiler

  function compileTypes(code) {
    compiler ??= findTypeScript()
    if (!compiler) {
      const error = new Error('TypeScript needs Node.js 22.13 or newer, or the npm package typescript')
      error.name = 'TypeScriptUnavailable'
      throw error
    }
    const latest = compiler.ScriptTarget.ESNext
    const compilerOptions = { target: latest, module: compiler.ModuleKind.ESNext, verbatimModuleSyntax: true }
    const { outputText, diagnostics } = compiler.transpileModule(code, { compilerOptions, reportDiagnostics: true })
    if (diagnostics.length) throw new SyntaxError(compiler.flattenDiagnosticMessageText(diagnostics[0].messageText, '\n'))
    return outputText
  }

  function withoutTypes(code) {
    const { stripTypeScriptTypes } = require('node:module')
    if (!stripTypeScriptTypes) return compileTypes(code)
    // It says once that it is experimental, to people who did not choose it.
    const { emitWarning } = process
    process.emitWarning = () => {}
    try {
      return stripTypeScriptTypes(code)
    } catch (error) {
      if (error.code !== 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') throw new SyntaxError(error.message)
      // Syntax that is more than types, such as an enum, has to be compiled.
      try {
        return stripTypeScriptTypes(code, { mode: 'transform' })
      } catch {
        return compileTypes(code)
      }
    } finally {
      process.emitWarning = emitWarning
    }
  }

  // --- Errors --------------------------------------------------------------------------------------------------

  /** Lines of the message, then only frames of the user's code. */
  function ownTrace(stack) {
    const isFrame = (line) => /^\s+at /.test(line)
    const lines = String(stack).split('\n')
    return lines.filter((line) => !isFrame(line) || line.includes(FILE_NAME)).join('\n')
  }

  function describe(error, depth = 0) {
    const name = String(error.name === 'Error' ? (error.constructor?.name ?? 'Error') : error.name)
    const head = error.message ? `${name}: ${error.message}` : name
    const stack = String(error.stack ?? '')
    const frames = stack.slice(stack.search(/\n\s+at /)).split('\n').filter((line) => line.includes(FILE_NAME))
    let traceback = [head, ...frames].join('\n') + '\n'
    if (error.cause instanceof Error && depth < 10) traceback += `Caused by: ${describe(error.cause, depth + 1).traceback}`
    return { name, value: String(error.message ?? ''), traceback }
  }

  Object.defineProperty(globalThis, '__alcove_describe', { value: describe })

  async function describeThrown({ exception, lineNumber, columnNumber, scriptId }) {
    if (exception.subtype !== 'error') {
      const value = exception.description ?? String(exception.value)
      return { name: 'Uncaught', value, traceback: `Uncaught ${value}\n` }
    }
    const { result } = await post('Runtime.callFunctionOn', {
      objectId: exception.objectId,
      functionDeclaration: 'function () { return __alcove_describe(this) }',
      returnByValue: true,
    })
    const described = result.value
    // Code that was not understood has no frames, but a place.
    if (scriptId && exception.className === 'SyntaxError') {
      described.traceback = `SyntaxError: ${described.value}\n    at ${FILE_NAME}:${lineNumber + 1}:${columnNumber + 1}\n`
    }
    return described
  }

  // What callbacks throw belongs to no execution and must not end the context.
  process.on('uncaughtException', (error) => {
    if (!(error instanceof Exit)) console.error('Uncaught', error instanceof Error ? ownTrace(error.stack) : error)
  })

  // The agent names the execution it wants to interrupt in an order. The signal is for what the code has started.
  process.on('SIGINT', () => {})

  process.exit = () => {
    if (current) current.hasExited = true
    throw new Exit('process.exit() ends the execution; the context goes on')
  }

  // --- Executions ----------------------------------------------------------------------------------------------

  async function evaluate(order) {
    const code = withoutModules(isTyped ? withoutTypes(order.code) : order.code)
    const parameters = {
      expression: `${code}\n//# sourceURL=${FILE_NAME}`,
      objectGroup: GROUP,
      replMode: true,
      awaitPromise: true,
    }
    if (order.timeoutMs) parameters.timeout = order.timeoutMs + TERMINATE_AFTER_MS
    let reply
    try {
      reply = await post('Runtime.evaluate', parameters)
    } catch {
      throw new Interrupted() // Stopped by V8.
    }
    return reply.exceptionDetails ? describeThrown(reply.exceptionDetails) : null
  }

  async function run(order) {
    const before = Object.entries(order.envs).map(([name]) => [name, process.env[name]])
    Object.assign(process.env, order.envs)
    const execution = { id: order.id, hasExited: false, interrupt: null }
    const interrupted = new Promise((_, reject) => {
      execution.interrupt = () => reject(new Interrupted())
    })
    current = execution
    let failure = null
    let outcome = 'completed'
    try {
      failure = await Promise.race([evaluate(order), interrupted])
    } catch (error) {
      if (error instanceof Interrupted) outcome = 'interrupted'
      failure = outcome === 'interrupted' ? { name: 'Interrupted', value: '', traceback: 'Interrupted\n' } : describe(error)
    }
    current = null
    session.post('Runtime.releaseObjectGroup', { objectGroup: GROUP })
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    if (failure && !execution.hasExited) {
      const { name, value, traceback } = failure
      sendEvent({ kind: 'error', id: order.id, name: tidy(name), value: tidy(value), traceback: tidy(traceback) })
    }
    sendEvent({ kind: 'done', id: order.id, outcome })
  }

  // --- Orders --------------------------------------------------------------------------------------------------

  function receive(order) {
    if (order.kind === 'run') run(order)
    else if (current?.id === order.id) current.interrupt()
  }

  // Not for processes that the code starts as Node.js again.
  process.execArgv = []
  let pieces = []
  let size = 0
  const orders = new net.Socket({ fd: ORDERS, readable: true, writable: false })
  orders.on('data', (piece) => {
    pieces.push(piece)
    size += piece.length
    while (size >= 4) {
      if (pieces[0].length < 4) pieces = [Buffer.concat(pieces)]
      const length = 4 + pieces[0].readUInt32BE()
      if (size < length) return
      const whole = pieces.length > 1 ? Buffer.concat(pieces) : pieces[0]
      pieces = whole.length > length ? [whole.subarray(length)] : []
      size -= length
      receive(JSON.parse(whole.toString('utf8', 4, length)))
    }
  })
  // The agent is gone.
  orders.on('close', () => process.reallyExit(0))
})
