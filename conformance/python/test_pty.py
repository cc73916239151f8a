"""Terminals: a shell that a person could sit at."""

import pytest
from daytona import DaytonaConflictError, DaytonaError, DaytonaNotFoundError
from daytona.common.pty import PtySize

from conftest import wait_until


def read_until(handle, wanted, seen=b""):
    """Reads on until the text has come; all that was seen."""
    for piece in handle:
        seen += piece
        if wanted in seen:
            return seen
    raise AssertionError(f"{wanted!r} never came, but {seen!r}")


def test_a_terminal_is_made_used_and_left(sandbox):
    handle = sandbox.process.create_pty_session(
        "work", cwd="/tmp", envs={"NAME": "a b"}, pty_size=PtySize(cols=100, rows=30)
    )
    assert handle.is_connected()
    handle.send_input('echo "<$NAME>"; pwd; stty size\n')
    seen = read_until(handle, b"30 100")
    assert b"<a b>" in seen and b"/tmp" in seen
    handle.send_input("seq 100000; exit 7\n")
    pieces = []
    result = handle.wait(on_data=pieces.append)
    assert (result.exit_code, result.error) == (7, "non-zero exit")
    assert b"\n100000\r\n" in b"".join(pieces)
    assert not handle.is_connected()
    handle.disconnect()
    with pytest.raises(DaytonaNotFoundError):
        sandbox.process.get_pty_session_info("work")


def test_the_first_prompt_is_seen(sandbox):
    handle = sandbox.process.create_pty_session("work")
    first = next(iter(handle))
    assert first
    handle.kill()
    result = handle.wait()
    assert (result.exit_code, result.error) == (137, "SIGKILL")


def test_terminals_are_listed_resized_and_killed(sandbox):
    process = sandbox.process
    handles = [process.create_pty_session(name) for name in ("one", "two")]
    assert [info.id for info in process.list_pty_sessions()] == ["one", "two"]
    assert handles[0].resize(PtySize(cols=120, rows=40)).cols == 120
    info = process.get_pty_session_info("one")
    assert (info.cols, info.rows, info.active) == (120, 40, True)
    handles[0].send_input("stty size; sleep 4242\n")
    read_until(handles[0], b"40 120")
    process.kill_pty_session("one")
    assert [info.id for info in process.list_pty_sessions()] == ["two"]
    wait_until(lambda: process.exec("pgrep -f 'sleep 424[2]'").exit_code == 1, "the end of its programs")
    with pytest.raises(DaytonaError):
        handles[1].resize(PtySize(cols=1001, rows=24))
    with pytest.raises(DaytonaConflictError):
        process.create_pty_session("two")


def test_a_terminal_outlives_its_client(sandbox):
    handle = sandbox.process.create_pty_session("work")
    handle.send_input("A=kept; echo re''ady\n")
    read_until(handle, b"ready")
    handle.disconnect()
    handle = sandbox.process.connect_pty_session("work")
    handle.send_input('echo "<$A>"; exit\n')
    assert handle.wait().exit_code == 0
    with pytest.raises(DaytonaError, match="not found"):
        sandbox.process.connect_pty_session("work")
