// Runs in the sandbox: a page, and a WebSocket that says every short message back.
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  response.setHeader('Content-Type', 'text/html')
  response.end(`<!doctype html><pre>${JSON.stringify([request.url, request.headers]).replaceAll('<', '')}</pre>`)
})
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
  const accept = createHash('sha1').update(key).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  socket.on('error', () => {})
  socket.on('data', (frame) => {
    if (frame[0] !== 0x81) return socket.end()
    const length = frame[1] & 0x7f
    const [mask, masked] = [frame.subarray(2, 6), frame.subarray(6, 6 + length)]
    socket.write(Buffer.from([0x81, length, ...masked.map((byte, at) => byte ^ mask[at % 4])]))
  })
})
server.listen(Number(process.argv[2]), '127.0.0.1')
