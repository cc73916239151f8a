#!/usr/bin/env python3
"""A language server for tests: it does what the query of `workspace/symbol` says, and writes down all that it gets."""

import json
import os
import subprocess
import sys
import time

received = open("received.jsonl", "a")  # In the working directory, which must be the project.
documents = {}
held = []
last_id = 0


def read():
    length = None
    while (line := sys.stdin.buffer.readline()) != b"\r\n":
        if not line:
            sys.exit(0)
        name, value = line.split(b":")
        if name.lower() == b"content-length":
            length = int(value)
    message = json.loads(sys.stdin.buffer.read(length))
    received.write(json.dumps(message) + "\n")
    received.flush()
    return message


def write(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    sys.stdout.buffer.flush()


def ask(method, params):
    global last_id
    last_id += 1
    write({"id": f"s{last_id}", "method": method, "params": params})
    while True:
        message = read()
        if message.get("id") == f"s{last_id}" and "method" not in message:
            return message
        handle(message)


def place(line):
    return {"start": {"line": line, "character": 0}, "end": {"line": line, "character": 1}}


def symbol(name):
    return {"name": name, "kind": 12, "location": {"uri": "file:///somewhere", "range": place(1)}}


def workspace_symbols(query):
    word, _, rest = query.partition(":")
    if word == "null":
        return None
    if word == "pid":
        return [symbol(str(os.getpid()))]
    if word == "crash":
        print("about to crash", file=sys.stderr, flush=True)
        os._exit(3)
    if word == "garbage":
        print("This is no message.\r\n\r\n", flush=True)
    if word == "long":
        print("Content-Length: 1000000000\r\n\r\n", flush=True)
    if word == "complain":
        sys.stderr.write("x" * 5_000_000)
        sys.stderr.flush()
    if word == "spawn":
        # Neither its session nor its parent tells whose it is.
        subprocess.Popen(["setsid", "-f", "sleep", rest])
    if word == "ask":
        replies = [
            ask("workspace/configuration", {"items": [{"section": "a"}, {"section": "b"}]}),
            ask("workspace/workspaceFolders", None),
            ask("client/registerCapability", {"registrations": []}),
            ask("window/workDoneProgress/create", {"token": 1}),
            ask("own/invention", {}),
        ]
        return [symbol(json.dumps(reply.get("result", reply.get("error")))) for reply in replies]
    return [symbol(query)]


def handle(message):
    method, params = message.get("method"), message.get("params", {})
    result = None
    if method == "initialize":
        if os.path.exists("refuse-to-start"):
            sys.exit("the reason on standard error")
        write({"method": "window/logMessage", "params": {"type": 3, "message": "hello"}})
        result = {"capabilities": {}}
    elif method == "textDocument/didOpen":
        document = params["textDocument"]
        documents[document["uri"]] = document
    elif method == "textDocument/didChange":
        document = documents[params["textDocument"]["uri"]]
        document.update(version=params["textDocument"]["version"], text=params["contentChanges"][0]["text"])
    elif method == "textDocument/didClose":
        del documents[params["textDocument"]["uri"]]
    elif method == "textDocument/documentSymbol":
        document = documents.get(params["textDocument"]["uri"])
        inner = {"name": document["text"], "kind": 13, "range": place(2), "selectionRange": place(2)} if document else None
        name = f"{document['languageId']} {document['version']}" if document else "not open"
        result = [{"name": name, "kind": 5, "range": place(0), "selectionRange": place(0), "children": inner and [inner]}]
    elif method == "textDocument/completion":
        result = [{"label": json.dumps(params), "documentation": "words"}]
    elif method == "workspace/symbol":
        query = params["query"]
        if query == "refuse":
            write({"id": message["id"], "error": {"code": -32603, "message": "not today"}})
            return
        if query == "hang":
            return
        if query == "hold":
            held.append(message["id"])
            return
        result = workspace_symbols(query)
        if query == "release":
            for number in reversed(held):
                write({"id": number, "result": [symbol(f"held {number}")]})
    elif method == "shutdown":
        if os.path.exists("stubborn"):
            while True:
                time.sleep(1000)
    elif method == "exit":
        sys.exit(0)
    if "id" in message and method:
        write({"id": message["id"], "result": result})


while True:
    handle(read())
