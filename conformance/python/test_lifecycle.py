"""Stop, start and delete, and what is told about them."""

import os
from urllib.parse import urlsplit

import pytest
import socketio
from daytona import (
    CreateSandboxFromSnapshotParams,
    Daytona,
    DaytonaBadRequestError,
    DaytonaConfig,
    DaytonaNotFoundError,
    SandboxState,
)

from conftest import wait_until


def test_files_survive_a_stop_and_processes_do_not(create):
    sandbox = create(env_vars={"A": "1"})
    sandbox.fs.upload_file(b"kept", "file")
    sandbox.process.exec("nohup sleep 300 > /dev/null 2>&1 &")
    sandbox.process.create_session("s")
    sandbox.stop()
    assert sandbox.state == SandboxState.STOPPED
    sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    assert sandbox.fs.download_file("file") == b"kept"
    assert sandbox.process.exec("echo $A; pgrep -a sleep").result == "1\n"
    assert sandbox.process.list_sessions() == []


def test_a_stopped_sandbox_is_seen_as_stopped_by_all(create, daytona):
    sandbox = create()
    daytona.stop(sandbox)
    assert daytona.get(sandbox.id).state == SandboxState.STOPPED
    daytona.start(sandbox)
    assert daytona.get(sandbox.id).state == SandboxState.STARTED


def test_a_stop_can_be_forced(create):
    sandbox = create()
    sandbox.process.create_session("s")
    sandbox.stop(force=True)
    assert sandbox.state == SandboxState.STOPPED


def test_start_and_stop_answer_the_finished_state(daytona):
    polling = Daytona(DaytonaConfig(use_deprecated_polling=True))
    sandbox = polling.create()
    for call, state in (
        (polling._sandbox_api.stop_sandbox, SandboxState.STOPPED),
        (polling._sandbox_api.start_sandbox, SandboxState.STARTED),
    ):
        assert call(sandbox.id).state == state
    daytona.delete(sandbox)


def test_work_in_a_stopped_sandbox_is_refused(create):
    sandbox = create()
    sandbox.stop()
    with pytest.raises(DaytonaBadRequestError, match="not started"):
        sandbox.process.exec("true")


def test_a_deleted_sandbox_is_gone(create, daytona):
    sandbox = create()
    sandbox.delete(wait=True)
    assert sandbox.state == SandboxState.DESTROYED
    for call in (lambda: daytona.get(sandbox.id), sandbox.delete, lambda: sandbox.process.exec("true")):
        with pytest.raises(DaytonaNotFoundError):
            call()


def test_a_stopped_sandbox_can_be_deleted(create, daytona):
    sandbox = create()
    sandbox.stop()
    daytona.delete(sandbox, wait=True)
    with pytest.raises(DaytonaNotFoundError):
        daytona.get(sandbox.id)


def test_a_stop_by_somebody_else_is_told_by_an_event(create, daytona):
    sandbox = create()
    by_event, by_polling = Daytona(), Daytona(DaytonaConfig(use_deprecated_polling=True))
    listening, deaf = by_event.get(sandbox.id), by_polling.get(sandbox.id)
    # Its connection stands once it hears of anything at all.
    other = daytona.get(sandbox.id)
    wait_until(lambda: by_event._event_dispatcher.is_connected, "the event connection")
    other.stop()
    wait_until(lambda: listening.state == SandboxState.STOPPED, "the event")
    assert deaf.state == SandboxState.STARTED, "without events nothing can have changed it"


@pytest.fixture
def events():
    """All events of the organization, by the library that the client uses for them."""
    url = urlsplit(os.environ["DAYTONA_API_URL"])
    client, received = socketio.Client(reconnection=False), []
    client.on("*", lambda name, payload: received.append((name, payload)))
    client.connect(
        f"{url.scheme}://{url.netloc}",
        socketio_path=f"{url.path}/socket.io/",
        transports=["websocket"],
        auth={"token": os.environ["DAYTONA_API_KEY"]},
        wait_timeout=10,
    )
    yield received
    client.disconnect()


def test_a_life_is_told_in_events(daytona, events):
    sandbox = daytona.create(CreateSandboxFromSnapshotParams(labels={"a": "b"}))
    sandbox.stop()
    sandbox.start()
    daytona.delete(sandbox, wait=True)

    def of(name):
        return [p for n, p in events if n == name and p.get("sandbox", p)["id"] == sandbox.id]

    def changes():
        return [(payload["oldState"], payload["newState"]) for payload in of("sandbox.state.updated")]

    wait_until(lambda: changes() and changes()[-1][1] == "destroyed", "the last event")
    (created,) = of("sandbox.created")
    assert created.get("sandbox", created)["labels"] == {"a": "b", "code-toolbox-language": "python"}
    states = [new for _, new in changes()]
    assert [old for old, _ in changes()[1:]] == states[:-1], "each begins where the last one ended"
    stages = ["started", "stopping", "stopped", "starting", "started", "destroying", "destroyed"]
    assert [state for state in states if state in stages] == stages
    for payload in of("sandbox.state.updated"):
        # Typed clients decode it as a whole sandbox.
        assert {"id", "organizationId", "env", "labels", "kvm", "toolboxProxyUrl", "state"} <= set(payload["sandbox"])


def test_a_wrong_key_hears_nothing():
    url = urlsplit(os.environ["DAYTONA_API_URL"])
    client = socketio.Client(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            f"{url.scheme}://{url.netloc}",
            socketio_path=f"{url.path}/socket.io/",
            transports=["websocket"],
            auth={"token": "dtn_wrong"},
            wait_timeout=10,
        )
