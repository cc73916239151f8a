#!/usr/bin/env python3
"""Stands before the server and makes polling useless, so that only events tell a client that a sandbox has started.

    late-polls.py URL [--no-events]

Prints its own URL and serves until its input ends. `start` is answered at once with a sandbox that is `starting`, and each
GET of that sandbox says the same for ever. The server is asked to start it only when a client listens to events and has
polled twice since. With --no-events the event socket is refused: then nothing tells.
"""

import http.client
import http.server
import json
import re
import socket
import sys
import threading
import urllib.parse

upstream = urllib.parse.urlsplit(sys.argv[1])
events = "--no-events" not in sys.argv
START = re.compile(r"/api/sandbox/([^/?]+)/start$")
GET = re.compile(r"/api/sandbox/([^/?]+)(\?.*)?$")
JOINED = b'40{"sid"'

lock = threading.Lock()
is_heard = False
held = {}


class Held:
    """A start that the client was told of and the server was not."""

    def __init__(self, answer, ask):
        self.answer, self.ask, self.polls = answer, ask, 0


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do(self):
        if self.headers.get("Upgrade"):
            return self.tunnel() if events else self.send_error(503)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "POST" and (start := START.match(self.path)):
            return self.hold(start[1], body)
        if self.command == "GET" and (get := GET.match(self.path)) and get[1] in held:
            return self.poll(held[get[1]])
        return self.answer(*self.ask(self.command, self.path, body))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do

    def ask(self, method, path, body=b""):
        connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=60)
        try:
            skipped = ("connection", "content-length", "host", "accept-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in skipped}
            connection.request(method, path, body, {**headers, "Host": upstream.netloc})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type")
        finally:
            connection.close()

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hold(self, sandbox, body):
        status, said, _ = self.ask("GET", f"/api/sandbox/{sandbox}")
        assert status == 200, said
        answer = json.dumps({**json.loads(said), "state": "starting"}).encode()
        path = self.path
        held[sandbox] = Held(answer, lambda: self.ask("POST", path, body))
        self.answer(200, answer)

    def poll(self, start):
        self.answer(200, start.answer)
        with lock:
            start.polls += is_heard
            is_due = start.polls == 2
        if is_due:
            start.ask()

    def tunnel(self):
        global is_heard
        server = socket.create_connection((upstream.hostname, upstream.port))
        lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        server.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        client = self.connection
        threading.Thread(target=relay, args=(client, server), daemon=True).start()
        seen = b""
        while data := server.recv(65536):
            client.sendall(data)
            seen = (seen + data)[-65536:]
            if JOINED in seen:
                with lock:
                    is_heard = True
        self.close_connection = True


def relay(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}/api", flush=True)
sys.stdin.read()
