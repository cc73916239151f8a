"""Language servers: the real ones of the default image."""

import pytest
from daytona import DaytonaBadRequestError, DaytonaError, LspCompletionPosition, LspLanguageId

from test_async import asynchronous

PYTHON = """import os

class Greeter:
    def greet(self, name):
        return os.path

Greeter().gr
"""

TYPESCRIPT = """export class Greeter {
  greet(name: string) { return name }
}
new Greeter().gr
"""


def place(location):
    start, end = location.range.start, location.range.end
    return location.uri, (start.line, start.character), (end.line, end.character)


def test_python_is_completed_and_described_on_the_first_start(sandbox):
    sandbox.fs.upload_file(PYTHON.encode(), "project/greeter.py")
    lsp = sandbox.create_lsp_server(LspLanguageId.PYTHON, "project")
    lsp.start()
    lsp.start()
    assert sandbox.process.exec("pgrep -c pylsp").result == "1\n"
    lsp.did_open("greeter.py")
    completions = lsp.completions("greeter.py", LspCompletionPosition(line=6, character=12))
    assert [(item.label, item.insert_text) for item in completions.items] == [("greet(name)", "greet")]
    assert completions.is_incomplete is False
    builtins = lsp.completions("greeter.py", LspCompletionPosition(line=0, character=0))
    assert "print" in {item.insert_text for item in builtins.items}
    uri = "file:///home/daytona/project/greeter.py"
    assert [(symbol.name, symbol.kind, place(symbol.location)) for symbol in lsp.document_symbols("greeter.py")] == [
        ("os", 2, (uri, (0, 0), (0, 9))),
        ("Greeter", 5, (uri, (2, 0), (5, 0))),
        ("greet", 6, (uri, (3, 4), (5, 0))),
    ]
    lsp.did_close("greeter.py")
    lsp.stop()
    assert sandbox.process.exec("pgrep -a pylsp").result == ""


def test_a_file_that_changed_is_opened_again(sandbox):
    lsp = sandbox.create_lsp_server("python", "/home/daytona")
    lsp.start()
    for name in ("first", "second"):
        sandbox.fs.upload_file(f"def {name}(): pass\n".encode(), "with space ä.py")
        lsp.did_open("/home/daytona/with space ä.py")
        assert [symbol.name for symbol in lsp.document_symbols("with space ä.py")] == [name]


@pytest.mark.parametrize(("language", "name", "text"), [
    ("typescript", "greeter.ts", TYPESCRIPT),
    ("javascript", "greeter.js", TYPESCRIPT.replace(": string", "")),
], ids=["typescript", "javascript"])
def test_typescript_and_javascript_are_completed_and_searched(sandbox, language, name, text):
    sandbox.fs.upload_file(text.encode(), f"project/{name}")
    lsp = sandbox.create_lsp_server(language, "/home/daytona/project")
    lsp.start()
    # As in the published examples: from the work dir, not from the project.
    lsp.did_open(f"project/{name}")
    completions = lsp.completions(name, LspCompletionPosition(line=3, character=16))
    assert "greet" in {item.label for item in completions.items}
    assert {"Greeter", "greet"} <= {symbol.name for symbol in lsp.document_symbols(name)}
    found = {symbol.name: symbol.location.uri for symbol in lsp.sandbox_symbols("Greet")}
    assert found["Greeter"] == f"file:///home/daytona/project/{name}"
    assert lsp.workspace_symbols("no such name") == []
    lsp.stop()
    assert sandbox.process.exec("pgrep -fa 'tsserver|language-server'").result == ""


def test_a_server_that_was_killed_goes_on(sandbox):
    sandbox.fs.upload_file(PYTHON.encode(), "greeter.py")
    lsp = sandbox.create_lsp_server("python", ".")
    lsp.start()
    lsp.did_open("greeter.py")
    sandbox.process.exec("pkill -9 pylsp")
    assert len(lsp.document_symbols("greeter.py")) == 3


def test_failures_say_why(sandbox):
    lsp = sandbox.create_lsp_server("python", ".")
    with pytest.raises(DaytonaBadRequestError, match="not started"):
        lsp.completions("a.py", LspCompletionPosition(line=0, character=0))
    lsp.start()
    with pytest.raises(DaytonaBadRequestError, match="missing.py"):
        lsp.did_open("missing.py")
    # The Python server has no search over a project.
    with pytest.raises(DaytonaBadRequestError, match="workspace/symbol"):
        lsp.sandbox_symbols("a")
    with pytest.raises(DaytonaBadRequestError, match="unsupported language"):
        sandbox.create_lsp_server("cobol", ".").start()
    with pytest.raises(DaytonaBadRequestError, match="not a folder"):
        sandbox.create_lsp_server("python", "nowhere").start()
    sandbox.process.exec("sudo rm $(which typescript-language-server)")
    with pytest.raises(DaytonaError, match="not installed"):
        sandbox.create_lsp_server("typescript", ".").start()


@asynchronous
async def test_the_asynchronous_client_speaks_to_language_servers(daytona, sandbox):
    await sandbox.fs.upload_file(PYTHON.encode(), "greeter.py")
    lsp = sandbox.create_lsp_server("python", "/home/daytona")
    await lsp.start()
    await lsp.did_open("greeter.py")
    completions = await lsp.completions("greeter.py", LspCompletionPosition(line=6, character=12))
    assert [item.insert_text for item in completions.items] == ["greet"]
    assert [symbol.name for symbol in await lsp.document_symbols("greeter.py")] == ["os", "Greeter", "greet"]
    await lsp.did_close("greeter.py")
    await lsp.stop()
    with pytest.raises(DaytonaBadRequestError):
        await lsp.document_symbols("greeter.py")
