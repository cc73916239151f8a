"""The examples of docs/mcp.md and docs/actions.md, as they stand there."""

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import anyio
import httpx2
import pytest
from daytona import DaytonaNotFoundError
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

DOCS = Path(__file__).parents[2] / "docs"
# The command line speaks no TLS; the server takes both on one port.
SERVER = os.environ["DAYTONA_API_URL"].removesuffix("/api").replace("https://", "http://")
KEY = os.environ["DAYTONA_API_KEY"]
PATH = f"{Path(os.environ['ALCOVE_BIN']).resolve().parent}:{os.environ['PATH']}"


def blocks(page, language):
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def servers():
    """What the page tells clients to have in their file of servers."""
    for block in blocks("mcp.md", "json"):
        text = re.sub(r"\bKEY\b", KEY, block).replace("http://127.0.0.1:3000", SERVER)
        yield json.loads(text)["mcpServers"]["alcove"]


def connected(server):
    if server.get("type") == "http":
        http = httpx2.AsyncClient(headers=server["headers"], timeout=120)
        return Client(streamable_http_client(server["url"], http_client=http))
    env = {**server["env"], "PATH": PATH}
    command = StdioServerParameters(command=server["command"], args=server["args"], env=env)
    return Client(stdio_client(command))


def test_both_ways_to_the_mcp_server_are_there():
    assert [server.get("type", "stdio") for server in servers()] == ["http", "stdio"]


@pytest.mark.parametrize("number", [0, 1], ids=["http", "stdio"])
def test_a_client_with_such_a_file_lists_and_calls_tools(number):
    async def use():
        with anyio.fail_after(150):
            async with connected(list(servers())[number]) as client:
                tools = await client.list_tools()
                assert "create_sandbox" in {tool.name for tool in tools.tools}
                result = await client.call_tool("list_sandboxes", {})
                assert result.structured_content["success"], result

    anyio.run(use)


@pytest.fixture
def run(daytona, tmp_path):
    """Runs a program of a shell in a folder of its own; what it says, as objects of JSON."""

    def run(program):
        env = {**os.environ, "PATH": PATH, "DAYTONA_API_URL": f"{SERVER}/api", "HOME": str(tmp_path)}
        words = ["bash", "-euo", "pipefail", "-c", program]
        done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    yield run
    with contextlib.suppress(DaytonaNotFoundError):
        daytona.delete(daytona.get("actions-demo"))


def objects(text):
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_actions_are_carried_out_with_curl(run):
    [by_curl, _] = blocks("actions.md", "sh")
    outputs = objects(run(by_curl))
    assert [output["success"] for output in outputs] == [True, True, True], outputs
    assert outputs[1]["result"].strip() == "42"


def test_actions_are_carried_out_on_the_command_line(run, tmp_path):
    [_, on_the_command_line] = blocks("actions.md", "sh")
    said = run(on_the_command_line)
    assert "create_sandbox" in said
    assert (tmp_path / "hello").read_text() == "hello\n"
