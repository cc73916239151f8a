"""The asynchronous client: the same work with another HTTP stack, and so with other bytes on the wire."""

import asyncio
import functools

import pytest
from daytona import (
    AsyncDaytona,
    CreateSandboxFromSnapshotParams,
    DaytonaAuthenticationError,
    DaytonaBadRequestError,
    DaytonaConfig,
    DaytonaConflictError,
    DaytonaFileNotFoundError,
    DaytonaNotFoundError,
    DaytonaProcessExecutionTimeoutError,
    DaytonaUnprocessableEntityError,
    FileDownloadRequest,
    FileUpload,
    ListSandboxesQuery,
    Resources,
    SandboxState,
    SessionExecuteRequest,
)
from daytona.common.pty import PtySize


def asynchronous(test):
    """Runs a test of one client and one sandbox in an event loop of its own."""

    # Not functools.wraps: pytest would see the test's own parameters and look for fixtures.
    @pytest.mark.timeout(120)
    def run():
        async def body():
            async with AsyncDaytona() as daytona:
                sandbox = await daytona.create(CreateSandboxFromSnapshotParams(env_vars={"A": "1"}))
                try:
                    await test(daytona, sandbox)
                finally:
                    await daytona.delete(sandbox)

        asyncio.run(body())

    functools.update_wrapper(run, test)
    del run.__wrapped__
    return run


@asynchronous
async def test_commands_and_code_run(daytona, sandbox):
    assert sandbox.state == SandboxState.STARTED
    assert (await sandbox.process.exec("echo $A$B; pwd", cwd="/tmp", env={"B": "2"})).result == "12\n/tmp\n"
    assert (await sandbox.process.exec("exit 3")).exit_code == 3
    assert (await sandbox.process.code_run("print(6 * 7)")).result == "42\n"
    with pytest.raises(DaytonaProcessExecutionTimeoutError):
        await sandbox.process.exec("sleep 300", timeout=1)


@asynchronous
async def test_files_come_back_as_they_were_sent(daytona, sandbox):
    content = bytes(range(256)) * 1000
    for name in ("plain", "with space ä☃", "quote\"and\\slash", "per%20cent+plus"):
        await sandbox.fs.upload_file(content, f"folder/{name}")
        assert await sandbox.fs.download_file(f"folder/{name}") == content
        stream = await sandbox.fs.download_file_stream(f"folder/{name}")
        assert b"".join([chunk async for chunk in stream]) == content
    await sandbox.fs.upload_files([FileUpload(b"1", "one"), FileUpload(b"2", "/tmp/zwei ä")])
    answers = await sandbox.fs.download_files(
        [FileDownloadRequest("one"), FileDownloadRequest("missing"), FileDownloadRequest("/tmp/zwei ä")]
    )
    assert [answer.result for answer in answers] == [b"1", None, b"2"]
    with pytest.raises(DaytonaFileNotFoundError):
        await sandbox.fs.download_file("missing")
    assert {entry.name for entry in await sandbox.fs.list_files("folder")} >= {"plain"}
    await sandbox.fs.create_folder("made", "700")
    assert (await sandbox.fs.get_file_info("made")).permissions == "0700"
    await sandbox.fs.move_files("one", "made/one")
    await sandbox.fs.delete_file("made", recursive=True)
    with pytest.raises(DaytonaFileNotFoundError):
        await sandbox.fs.get_file_info("made/one")


@asynchronous
async def test_a_stream_is_uploaded(daytona, sandbox):
    class Source:
        left = [b"one ", b"two ", b"three"]

        async def read(self, size=-1):
            return self.left.pop(0) if self.left else b""

    await sandbox.fs.upload_file_stream(Source(), "streamed")
    assert await sandbox.fs.download_file("streamed") == b"one two three"


@asynchronous
async def test_sessions_and_their_live_logs(daytona, sandbox):
    process = sandbox.process
    await process.create_session("s")
    answer = await process.execute_session_command("s", SessionExecuteRequest(command="cd /tmp; echo out; echo err >&2"))
    assert (answer.stdout, answer.stderr, answer.exit_code) == ("out\n", "err\n", 0)
    begun = await process.execute_session_command(
        "s", SessionExecuteRequest(command="pwd; echo 'err ☃' >&2; read x; echo \"$x\"; (exit 4)", run_async=True)
    )
    seen = {"out": "", "err": ""}
    both = asyncio.Event()

    def taker(stream):
        async def take(text):
            seen[stream] += text
            if seen == {"out": "/tmp\n", "err": "err ☃\n"}:
                both.set()

        return take

    following = asyncio.create_task(
        process.get_session_command_logs_async("s", begun.cmd_id, taker("out"), taker("err"))
    )
    await asyncio.wait_for(both.wait(), 20)
    await process.send_session_command_input("s", begun.cmd_id, "words")
    await asyncio.wait_for(following, 20)
    assert seen == {"out": "/tmp\nwords\nwords\n", "err": "err ☃\n"}
    assert (await process.get_session_command("s", begun.cmd_id)).exit_code == 4
    assert (await process.get_session_command_logs("s", begun.cmd_id)).stdout == "/tmp\nwords\nwords\n"
    with pytest.raises(DaytonaConflictError):
        await process.create_session("s")
    await process.delete_session("s")
    assert await process.list_sessions() == []


@asynchronous
async def test_a_sandbox_is_found_stopped_started_and_changed(daytona, sandbox):
    found = await daytona.get(sandbox.name)
    assert found.id == sandbox.id
    await sandbox.fs.upload_file(b"kept", "file")
    await sandbox.stop()
    assert sandbox.state == SandboxState.STOPPED
    await sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    assert await sandbox.fs.download_file("file") == b"kept"
    assert await sandbox.set_labels({"only": sandbox.id}) == {"only": sandbox.id}
    items = [item async for item in daytona.list(ListSandboxesQuery(labels={"only": sandbox.id}))]
    assert [item.id for item in items] == [sandbox.id]
    await sandbox.set_autostop_interval(42)
    assert (await daytona.get(sandbox.id)).auto_stop_interval == 42


@asynchronous
async def test_a_sandbox_is_resized_forked_captured_and_archived(daytona, sandbox):
    cpu, memory, disk = sandbox.cpu, sandbox.memory, sandbox.disk
    await sandbox.resize(Resources(cpu=cpu + 1))
    assert (sandbox.state, sandbox.cpu) == (SandboxState.STARTED, cpu + 1)
    await sandbox.fs.upload_file(b"kept", "file")
    name = f"of-{sandbox.id}"
    await sandbox.create_snapshot(name)
    fork = await sandbox.fork()
    other = await daytona.create(CreateSandboxFromSnapshotParams(snapshot=name))
    try:
        for child in (fork, other):
            assert child.state == SandboxState.STARTED
            assert await child.fs.download_file("file") == b"kept"
        with pytest.raises(DaytonaConflictError):
            await sandbox.create_snapshot(name)
        assert (fork.cpu, fork.memory, fork.disk) == (cpu + 1, memory, disk)
    finally:
        await fork.delete()
        await other.delete()
        await daytona.snapshot.delete(await daytona.snapshot.get(name))
    with pytest.raises(DaytonaBadRequestError, match="not stopped"):
        await sandbox.archive()
    await sandbox.stop()
    await sandbox.archive()
    # The test's own time limit is that of this wait.
    while sandbox.state != SandboxState.ARCHIVED:
        await sandbox.refresh_data()
    await sandbox.start()
    assert await sandbox.fs.download_file("file") == b"kept"


@asynchronous
async def test_a_paused_sandbox_comes_back(daytona, sandbox):
    await sandbox.process.exec("nohup sleep 300 > /dev/null 2>&1 &")
    try:
        await sandbox.pause()
    except DaytonaUnprocessableEntityError as reason:
        pytest.skip(f"this host cannot pause: {reason}")
    assert sandbox.state == SandboxState.PAUSED
    with pytest.raises(DaytonaBadRequestError, match="not started"):
        await sandbox.process.exec("true")
    await sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    assert (await sandbox.process.exec("pgrep -x sleep")).result != ""


@asynchronous
async def test_errors_have_their_classes(daytona, sandbox):
    with pytest.raises(DaytonaNotFoundError):
        await daytona.get("no-such-name")
    named = await daytona.create(CreateSandboxFromSnapshotParams(name=f"named-{sandbox.id}"))
    with pytest.raises(DaytonaConflictError):
        await daytona.create(CreateSandboxFromSnapshotParams(name=named.name))
    await named.delete()
    async with AsyncDaytona(DaytonaConfig(api_key="dtn_wrong")) as stranger:
        with pytest.raises(DaytonaAuthenticationError):
            await stranger.get(sandbox.id)


@asynchronous
async def test_twenty_sandboxes_can_be_created_at_once(daytona, _):
    async def create_and_run(number):
        sandbox = await daytona.create(CreateSandboxFromSnapshotParams(env_vars={"N": str(number)}))
        return sandbox, (await sandbox.process.exec("echo $N")).result

    results = await asyncio.gather(*(create_and_run(number) for number in range(20)))
    assert [output for _, output in results] == [f"{number}\n" for number in range(20)]
    await asyncio.gather(*(daytona.delete(sandbox) for sandbox, _ in results))


@asynchronous
async def test_terminals(daytona, sandbox):
    pieces = []
    process = sandbox.process
    handle = await process.create_pty_session(
        "work", on_data=pieces.append, envs={"NAME": "a b"}, pty_size=PtySize(cols=100, rows=30)
    )
    await handle.wait_for_connection()
    assert [info.id for info in await process.list_pty_sessions()] == ["work"]
    assert (await handle.resize(PtySize(cols=120, rows=40))).rows == 40
    await handle.send_input('echo "<$NAME>"; stty size; seq 100000; exit 7\n')
    result = await handle.wait()
    seen = b"".join(pieces)
    assert (result.exit_code, result.error) == (7, "non-zero exit")
    assert b"<a b>" in seen and b"40 120" in seen and b"\n100000\r\n" in seen
    with pytest.raises(DaytonaNotFoundError):
        await process.get_pty_session_info("work")
    await process.create_pty_session("work", on_data=lambda _: None)
    with pytest.raises(DaytonaConflictError):
        await process.create_pty_session("work", on_data=lambda _: None)
    await process.kill_pty_session("work")
    assert await process.list_pty_sessions() == []
