"""`git http-backend` behind basic authentication, on port 8090 of the sandbox that runs this.

The tests upload it: a sandbox reaches itself, and nothing of the host that runs the tests. `/git/a.git` is a bare
repository with a commit on `main`; user `ada`, password `pass word`.
"""

import base64
import os
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = tempfile.mkdtemp()
WANTED = "Basic " + base64.b64encode(b"ada:pass word").decode()
QUIET = {"GIT_AUTHOR_NAME": "s", "GIT_AUTHOR_EMAIL": "s@x", "GIT_COMMITTER_NAME": "s", "GIT_COMMITTER_EMAIL": "s@x"}


def git(*arguments):
    subprocess.run(["git", *arguments], check=True, env={**os.environ, **QUIET})


def prepare():
    bare, seed = f"{ROOT}/git/a.git", f"{ROOT}/seed"
    git("init", "-q", "--bare", "-b", "main", bare)
    git("-C", bare, "config", "http.receivepack", "true")
    git("clone", "-q", bare, seed)
    with open(f"{seed}/README", "w") as file:
        file.write("hello\n")
    git("-C", seed, "checkout", "-q", "-B", "main")
    git("-C", seed, "add", ".")
    git("-C", seed, "commit", "-q", "-m", "first")
    git("-C", seed, "push", "-q", "origin", "main")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != WANTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        length = self.headers.get("Content-Length", "0")
        cgi = {
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": length,
            "REMOTE_USER": "ada",
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = self.rfile.read(int(length))
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env={**os.environ, **cgi})
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200")[:3]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


prepare()
server = ThreadingHTTPServer(("127.0.0.1", 8090), Handler)
print("ready", flush=True)
sys.stdin.close()
server.serve_forever()
