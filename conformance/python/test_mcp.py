"""The Model Context Protocol, with its official client: over HTTP and over standard input and output."""

import base64
import json
import os
import urllib.error
import urllib.request

import anyio
import httpx2
import jsonschema
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["DAYTONA_API_URL"].removesuffix("/api") + "/mcp"
KEY = os.environ["DAYTONA_API_KEY"]

READS = {
    "download_file", "list_files", "list_sandboxes", "get_sandbox", "list_snapshots", "search_files", "find_in_files",
    "get_preview_url", "list_sessions", "get_session_logs",
}  # fmt: skip
DESTROYS = {"delete_sandbox", "delete_session"}
CHANGES = {
    "create_sandbox", "run_code", "execute_command", "upload_file", "git_clone", "start_sandbox", "stop_sandbox",
    "create_session", "run_in_session", "create_snapshot", "fork_sandbox", "pause_sandbox",
}  # fmt: skip


def over_http(mode):
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
    return Client(streamable_http_client(URL, http_client=http), mode=mode)


def over_stdio(mode):
    # The client of the command line speaks no TLS; the server takes both on one port.
    url = os.environ["DAYTONA_API_URL"].replace("https://", "http://")
    server = StdioServerParameters(
        command=os.environ["ALCOVE_BIN"],
        args=["mcp"],
        env={"DAYTONA_API_URL": url, "DAYTONA_API_KEY": KEY, "PATH": os.environ["PATH"]},
    )
    return Client(stdio_client(server), mode=mode)


@pytest.fixture(params=[over_http, over_stdio], ids=["http", "stdio"])
def connect(request):
    return request.param


@pytest.fixture(params=["auto", "legacy"])
def mode(request):
    return request.param


def within(connect, mode, use):
    """Runs `use` with a connected client."""

    async def run():
        with anyio.fail_after(150):
            async with connect(mode) as client:
                return await use(client)

    return anyio.run(run)


class Tools:
    """Calls tools and holds each answer against its schema."""

    def __init__(self, client, tools):
        self.client = client
        self.tools = {tool.name: tool for tool in tools}
        self.called = set()

    async def call(self, name, /, **arguments):
        self.called.add(name)
        result = await self.client.call_tool(name, arguments)
        assert result.is_error is not True, result
        output = result.structured_content
        assert json.loads(result.content[0].text) == output
        jsonschema.validate(output, self.tools[name].output_schema)
        return output

    async def good(self, name, /, **arguments):
        output = await self.call(name, **arguments)
        assert output["success"], (name, output)
        return output


def test_tools_say_what_they_do(connect, mode):
    async def use(client):
        return (await client.list_tools()).tools

    tools = within(connect, mode, use)
    assert {tool.name for tool in tools} == READS | DESTROYS | CHANGES
    for tool in tools:
        hints = tool.annotations
        assert hints.read_only_hint == (tool.name in READS), tool.name
        assert hints.destructive_hint == (tool.name in DESTROYS), tool.name
        if tool.name in READS | DESTROYS | {"start_sandbox", "stop_sandbox"}:
            assert hints.idempotent_hint, tool.name
        assert tool.description and tool.title
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.timeout(200)
def test_every_tool_is_called(connect, unique):
    async def use(client):
        tools = Tools(client, (await client.list_tools()).tools)
        good, names = tools.good, [unique, f"{unique}-fork"]
        try:
            box = (await good("create_sandbox", name=unique))["sandbox"]["id"]
            assert (await good("run_code", sandbox_id=box, code="print(6 * 7)", language="python"))["result"] == "42\n"
            assert (await good("execute_command", sandbox_id=box, command="exit 3"))["exit_code"] == 3
            content = base64.b64encode(b"needle\n").decode()
            await good("upload_file", sandbox_id=box, destination_path="/tmp/d/a.txt", file_content_base64=content)
            assert (await good("download_file", sandbox_id=box, file_path="/tmp/d/a.txt"))["content_base64"] == content
            assert [file["name"] for file in (await good("list_files", sandbox_id=box, path="/tmp/d"))["files"]] == ["a.txt"]
            assert (await good("search_files", sandbox_id=box, path="/tmp/d", pattern="*.txt"))["files"] == ["/tmp/d/a.txt"]
            [match] = (await good("find_in_files", sandbox_id=box, path="/tmp/d", pattern="needle"))["matches"]
            assert (match["file"], match["line"], match["content"]) == ("/tmp/d/a.txt", 1, "needle")
            refused = await tools.call("git_clone", sandbox_id=box, url="http://127.0.0.1:1/x.git", path="x")
            assert not refused["success"] and refused["error"]

            await good("create_session", sandbox_id=box, session_id="s")
            ran = await good("run_in_session", sandbox_id=box, session_id="s", command="cd /tmp; echo out; echo err >&2")
            assert (ran["exit_code"], ran["stdout"], ran["stderr"]) == (0, "out\n", "err\n")
            ran = await good("run_in_session", sandbox_id=box, session_id="s", command="pwd", run_async=True)
            with anyio.fail_after(20):
                while True:
                    said = await good("get_session_logs", sandbox_id=box, session_id="s", command_id=ran["command_id"])
                    if said["exit_code"] is not None:
                        break
                    await anyio.sleep(0.05)
            assert said["stdout"] == "/tmp\n"
            [session] = [s for s in (await good("list_sessions", sandbox_id=box))["sessions"] if s["session_id"] == "s"]
            assert len(session["commands"]) == 2
            await good("delete_session", sandbox_id=box, session_id="s")

            place = await good("get_preview_url", sandbox_id=box, port=8000)
            assert "8000-" in place["url"] and place["token"]
            assert any(found["id"] == box for found in (await good("list_sandboxes", name=unique))["sandboxes"])
            assert (await good("get_sandbox", sandbox_id=unique))["sandbox"]["id"] == box
            snapshots = (await good("list_snapshots", limit=200))["snapshots"]
            assert "default" in [snapshot["name"] for snapshot in snapshots]
            # These take a disk that can be copied and memory that can be put away; where the host has neither, they say so.
            for name, arguments in {
                "create_snapshot": {"name": unique},
                "fork_sandbox": {"name": names[1]},
                "pause_sandbox": {},
            }.items():
                output = await tools.call(name, sandbox_id=box, **arguments)
                assert output["success"] or output["error"], name
            await tools.call("start_sandbox", sandbox_id=box)
            assert (await good("stop_sandbox", sandbox_id=box))["sandbox"]["state"] == "stopped"
            assert (await good("start_sandbox", sandbox_id=box))["sandbox"]["state"] == "started"
        finally:
            for name in names:
                await tools.call("delete_sandbox", sandbox_id=name)
        assert tools.called == set(tools.tools)

    within(connect, "auto", use)


def test_what_goes_wrong_is_told_by_the_tool_and_not_by_the_protocol(connect, mode):
    async def use(client):
        tools = Tools(client, (await client.list_tools()).tools)
        refused = await tools.call("get_sandbox", sandbox_id="no-such-sandbox")
        assert not refused["success"] and refused["error"]
        refused = await tools.call("get_sandbox", sandbox="x")
        assert refused["error"] == 'sandbox_id is required, there is no input key "sandbox"'
        with pytest.raises(Exception, match="no tool"):
            await client.call_tool("sleep", {})

    within(connect, mode, use)


def ask(headers):
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    standard = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(URL, json.dumps(body).encode(), standard | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_key_is_needed_and_pages_of_others_are_turned_away():
    key = {"Authorization": f"Bearer {KEY}"}
    assert ask({}) == 401
    assert ask({"Authorization": "Bearer wrong"}) == 401
    assert ask(key) == 200
    assert ask(key | {"Origin": URL.removesuffix("/mcp")}) == 200
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        assert ask(key | {"Origin": origin}) == 403, origin
