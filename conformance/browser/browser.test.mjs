// Previews and the terminal as a person sees them: in a real browser, Debian's Chromium.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { Daytona } from '@daytonaio/sdk'
import { chromium } from 'playwright-core'

const VITE = 5173
const ECHO = 4567
const TERMINAL = 22222
const WAIT_MS = 60_000
const here = (path) => fileURLToPath(new URL(path, import.meta.url))

const daytona = new Daytona()
let sandbox
let browser

before(async () => {
  sandbox = await daytona.create()
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
})

after(async () => {
  await browser?.close()
  await sandbox?.delete()
})

/** A profile that knows nothing, and a page of it. */
async function fresh(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options })
  context.setDefaultTimeout(WAIT_MS)
  return context.newPage()
}

async function waitUntil(condition, what) {
  for (const deadline = Date.now() + WAIT_MS; ; await pause(50)) {
    const value = await condition()
    if (value) return value
    assert.ok(Date.now() < deadline, `${what} did not come in time`)
  }
}

/** Starts a program that goes on, and waits until its port answers a visitor with the token. */
async function serve(name, command, port) {
  await sandbox.process.createSession(name)
  await sandbox.process.executeSessionCommand(name, { command, runAsync: true })
  const link = await sandbox.getPreviewLink(port)
  const page = await fresh({ extraHTTPHeaders: { 'X-Daytona-Preview-Token': link.token } })
  await waitUntil(async () => (await page.goto(link.url)).status() === 200, `${name} on port ${port}`)
  await page.context().close()
  return link
}

const withToken = (link, path = '/') => `${link.url}${path}?DAYTONA_SANDBOX_AUTH_KEY=${link.token}`
const write = (path, text) => sandbox.fs.uploadFile(Buffer.from(text), path)

let echo
/** A page with a WebSocket that says everything back. */
async function echoLink() {
  if (echo) return echo
  await sandbox.fs.uploadFile(here('echo.mjs'), 'echo.mjs')
  echo = await serve('echo', `node echo.mjs ${ECHO}`, ECHO)
  return echo
}

async function says(page, text) {
  return page.evaluate(
    (text) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket')
        socket.onopen = () => socket.send(text)
        socket.onmessage = ({ data }) => resolve(data)
        socket.onerror = () => reject(new Error('no socket'))
      }),
    text,
  )
}

test('a development server reloads modules in the page while they change', async () => {
  const packed = execFileSync('tar', ['-C', process.env.VITE_MODULES, '-czf', '-', 'node_modules'], { maxBuffer: 1 << 28 })
  await sandbox.fs.uploadFile(packed, 'app/modules.tgz')
  const unpacked = await sandbox.process.executeCommand('tar -xzf modules.tgz', 'app')
  assert.equal(unpacked.exitCode, 0, unpacked.result)
  await write('app/index.html', '<!doctype html><p id=shown></p><script type=module src=/main.js></script>')
  await write('app/main.js', "import { shown } from './shown.js'\nconst show = (text) => (document.getElementById('shown').textContent = text)\nshow(shown)\nimport.meta.hot.accept('./shown.js', (module) => show(module.shown))\n")
  await write('app/shown.js', "export const shown = 'first'\n")
  const link = await serve('vite', `cd app && node node_modules/vite/bin/vite.js --host 127.0.0.1 --port ${VITE} --strictPort`, VITE)
  const page = await fresh()
  await page.goto(withToken(link))
  await page.waitForFunction(() => document.getElementById('shown')?.textContent === 'first')
  await page.evaluate(() => (window.isSame = true))
  // Until its socket is open the page hears of no change; a change again is one too.
  let count = 0
  await waitUntil(async () => {
    await write('app/shown.js', `export const shown = 'changed ${count++}'\n`)
    return page
      .waitForFunction(() => document.getElementById('shown').textContent.startsWith('changed'), null, { timeout: 2000 })
      .catch(() => false)
  }, 'the change')
  assert.ok(await page.evaluate(() => window.isSame), 'the page itself was not loaded again')
})

test('a token in the header or the query opens a port, and a socket goes by the cookie', async () => {
  const link = await echoLink()
  const stranger = await fresh()
  assert.equal((await stranger.goto(link.url)).status(), 401)
  assert.match(await stranger.textContent('h1'), /not public/)

  const page = await fresh()
  assert.equal((await page.goto(withToken(link))).status(), 200)
  assert.doesNotMatch(await page.textContent('body'), new RegExp(link.token))
  assert.equal((await page.goto(link.url)).status(), 200, 'the cookie is enough')
  assert.equal(await says(page, 'hello'), 'hello')
  assert.equal(await page.evaluate(() => document.cookie), '')

  const byHeader = await fresh({ extraHTTPHeaders: { 'X-Daytona-Preview-Token': link.token } })
  assert.equal((await byHeader.goto(link.url)).status(), 200)
})

test('a signed URL opens a port in a fresh profile until its time', async () => {
  await echoLink()
  const signed = await sandbox.getSignedPreviewUrl(ECHO, 600)
  const page = await fresh()
  assert.equal((await page.goto(signed.url)).status(), 200)
  assert.equal(await says(page, 'signed'), 'signed')
  await sandbox.expireSignedPreviewUrl(ECHO, signed.token)
  assert.equal((await page.goto(signed.url)).status(), 401)

  const short = await sandbox.getSignedPreviewUrl(ECHO, 2)
  await waitUntil(async () => (await page.goto(short.url)).status() === 401, 'the end of a signed URL')
})

test('a sandbox is public while it is said to be, and its terminal never', async () => {
  const link = await echoLink()
  const terminal = await sandbox.getPreviewLink(TERMINAL)
  const page = await fresh()
  const turn = async (isPublic) => {
    const url = `${process.env.DAYTONA_API_URL}/sandbox/${sandbox.id}/public/${isPublic}`
    const headers = { Authorization: `Bearer ${process.env.DAYTONA_API_KEY}` }
    assert.equal((await page.request.post(url, { headers })).status(), 200)
  }
  await turn(true)
  assert.equal((await page.goto(link.url)).status(), 200)
  assert.equal(await says(page, 'public'), 'public')
  assert.equal((await page.goto(terminal.url)).status(), 401)
  await turn(false)
  assert.equal((await page.goto(link.url)).status(), 401)
})

/** How often the terminal shows a line. */
const counted = (line) => {
  const buffer = window.terminal?.buffer.active
  const lines = Array.from({ length: buffer?.length ?? 0 }, (_, at) => buffer.getLine(at).translateToString(true))
  return lines.filter((shown) => shown === line).length
}
const count = (page, line) => page.evaluate(counted, line)
const shows = (page, line) => page.waitForFunction(counted, line)

async function type(page, text) {
  await page.keyboard.type(text)
  await page.keyboard.press('Enter')
}

const byPath = (link) => {
  const { origin } = new URL(process.env.DAYTONA_API_URL)
  return { ...link, url: `${origin}/p/${sandbox.id}/${TERMINAL}` }
}

for (const [form, of] of [['host', (link) => link], ['path', byPath]]) {
  test(`the terminal types, follows the window, and is there again after a reload (${form})`, async () => {
    const page = await fresh({ viewport: { width: 900, height: 500 } })
    const failed = []
    const link = of(await sandbox.getPreviewLink(TERMINAL))
    page.on('pageerror', (error) => failed.push(String(error)))
    page.on('request', (request) => {
      if (new URL(request.url()).host !== new URL(link.url).host) failed.push(`asked ${request.url()}`)
    })
    let cut
    await page.routeWebSocket(/\/connect\?/, (socket) => {
      socket.connectToServer()
      cut = () => socket.close()
    })
    await page.goto(withToken(link, '/'))
    // What is typed before there is a connection may be lost on a busy machine.
    await page.waitForFunction(() => window.terminal && document.getElementById('state').hidden)
    // A shell that begins throws away what was typed before its prompt.
    await page.waitForFunction(() => terminal.buffer.active.getLine(0)?.translateToString(true).trim())
    await type(page, 'echo a$((40+2))')
    await shows(page, 'a42')

    await page.setViewportSize({ width: 600, height: 300 })
    const size = await page.waitForFunction(() => terminal.cols < 80 && `${terminal.rows} ${terminal.cols}`)
    await type(page, `until [ "$(stty size)" = "${await size.jsonValue()}" ]; do sleep 0.1; done; echo b$((40+3))`)
    await shows(page, 'b43')

    // What is said without a connection comes with the next one, once. Keys that are on their way go with the connection,
    // so the shell must have read them.
    await type(page, 'echo go$((40+6)); sleep 1; echo d$((40+5))')
    await shows(page, 'go46')
    await cut()
    await shows(page, 'd45')
    assert.equal(await page.evaluate(() => document.getElementById('state').hidden), true)
    for (const line of ['a42', 'b43', 'd45']) assert.equal(await count(page, line), 1, line)

    await type(page, 'KEPT=c$((40+4)); echo e$((40+7))')
    await shows(page, 'e47')
    await page.reload()
    await shows(page, 'a42')
    await shows(page, 'b43')
    await type(page, 'echo $KEPT')
    await shows(page, 'c44')
    assert.deepEqual(failed, [])
  })
}
