"""`langchain-daytona`: the backend of Deep Agents, as its README starts it."""

import langchain_daytona
from daytona import Daytona


def test_the_quick_start():
    sandbox = Daytona().create()
    try:
        backend = langchain_daytona.DaytonaSandbox(sandbox=sandbox, timeout=300, sync_polling_interval=0.25)
        result = backend.execute("echo hello")
        assert (result.output.strip(), result.exit_code) == ("hello", 0)
        assert backend.execute("exit 3").exit_code == 3
        assert backend.execute("sleep 60", timeout=2).exit_code not in (0, None)

        # What agents do with a backend. Paths are those of the sandbox.
        assert backend.upload_files([("/tmp/up.txt", b"one\nneedle\n")])[0].error is None
        assert backend.download_files(["/tmp/up.txt"])[0].content == b"one\nneedle\n"
        assert backend.download_files(["/tmp/none.txt"])[0].error == "file_not_found"
        assert backend.write("/tmp/new.txt", "first\n").error is None
        assert backend.edit("/tmp/new.txt", "first", "second").error is None
        assert b"second" in backend.download_files(["/tmp/new.txt"])[0].content
        assert "needle" in str(backend.read("/tmp/up.txt"))
        assert "/tmp/up.txt" in str(backend.grep("needle", "/tmp"))
        assert "up.txt" in str(backend.glob("*.txt", "/tmp"))
        assert "up.txt" in str(backend.ls("/tmp"))
    finally:
        sandbox.delete()
