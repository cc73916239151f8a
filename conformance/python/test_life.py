"""What is made of a sandbox beyond starting and stopping it: put away, held, resized, forked, captured, recovered."""

import contextlib
import time

import pytest
from daytona import (
    DaytonaBadRequestError,
    DaytonaConflictError,
    DaytonaNotFoundError,
    DaytonaTimeoutError,
    DaytonaUnprocessableEntityError,
    DaytonaValidationError,
    ListSandboxesQuery,
    Resources,
    SandboxState,
    VolumeMount,
)

from conftest import wait_until

# Any number of bytes that are not the same everywhere.
NOISE = bytes(range(256)) * 5000


def run(sandbox, command):
    answer = sandbox.process.exec(command)
    assert answer.exit_code == 0, answer
    return answer.result


def archive(sandbox):
    sandbox.archive()
    # The client itself waits for nothing.
    assert sandbox.state in (SandboxState.ARCHIVING, SandboxState.ARCHIVED)
    wait_until(lambda: sandbox.refresh_data() or sandbox.state == SandboxState.ARCHIVED, "the archive")


def pause(sandbox):
    try:
        sandbox.pause()
    except DaytonaUnprocessableEntityError as reason:
        pytest.skip(f"this host cannot pause: {reason}")
    assert sandbox.state == SandboxState.PAUSED


@pytest.fixture
def fork(daytona):
    """Makes forks that are gone after the test."""
    forks = []

    def fork(sandbox, **params):
        forks.append(sandbox.fork(**params))
        return forks[-1]

    yield fork
    for sandbox in forks:
        with contextlib.suppress(DaytonaNotFoundError):
            daytona.delete(sandbox)


@pytest.fixture
def snapshot(daytona, unique):
    """The name of a snapshot that is gone after the test."""
    yield unique
    with contextlib.suppress(DaytonaNotFoundError):
        daytona.snapshot.delete(daytona.snapshot.get(unique))


def test_a_stopped_sandbox_is_archived_and_a_start_brings_it_back_whole(create, daytona, unique):
    sandbox = create(name=unique, env_vars={"A": "1"}, labels={"mine": unique})
    sandbox.fs.upload_file(NOISE, "file")
    run(sandbox, "chmod 640 file; ln -s file link; sudo touch /etc/mine")
    before = run(sandbox, "stat -c '%a %U %Y' file; ls -l /etc/mine")
    sandbox.stop()
    archive(sandbox)
    assert sandbox.backup_state == "Completed"
    assert daytona.get(unique).state == SandboxState.ARCHIVED
    query = ListSandboxesQuery(labels={"mine": unique}, states=[SandboxState.ARCHIVED])
    assert [found.id for found in daytona.list(query)] == [sandbox.id]

    sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    assert daytona.get(unique).state == SandboxState.STARTED
    assert sandbox.fs.download_file("link") == NOISE
    assert run(sandbox, "stat -c '%a %U %Y' file; ls -l /etc/mine") == before
    assert run(sandbox, "echo $A") == "1\n"
    # And again, with what was changed since.
    run(sandbox, "echo more >> file")
    sandbox.stop()
    archive(sandbox)
    daytona.start(sandbox)
    assert sandbox.fs.download_file("file") == NOISE + b"more\n"


def test_a_running_sandbox_is_not_archived_and_runs_on(sandbox, daytona):
    sandbox.process.exec("nohup sleep 300 > /dev/null 2>&1 &")
    with pytest.raises(DaytonaBadRequestError, match="not stopped") as refused:
        sandbox.archive()
    assert (refused.value.status_code, refused.value.code) == (400, "SANDBOX_NOT_ARCHIVABLE")
    assert daytona.get(sandbox.id).state == SandboxState.STARTED
    assert run(sandbox, "pgrep -x sleep") != ""


def test_an_archived_sandbox_does_nothing_but_start_and_go(create, daytona):
    sandbox = create()
    sandbox.stop()
    archive(sandbox)
    for call in (
        sandbox.archive,
        sandbox.stop,
        sandbox.pause,
        sandbox.recover,
        sandbox.fork,
        lambda: sandbox.create_snapshot("never"),
        lambda: sandbox.resize(Resources(cpu=2)),
        lambda: sandbox.process.exec("true"),
    ):
        with pytest.raises(DaytonaBadRequestError):
            call()
        assert daytona.get(sandbox.id).state == SandboxState.ARCHIVED
    sandbox.delete(wait=True)
    with pytest.raises(DaytonaNotFoundError):
        daytona.get(sandbox.id)


def test_a_paused_sandbox_stands_still_and_goes_on_where_it_was(create, daytona):
    sandbox, other = create(), create()
    log = "while :; do date +%s%N >> times; sleep 0.02; done"
    writer, _ = (run(one, f"nohup sh -c '{log}' > /dev/null 2>&1 & echo $!") for one in (sandbox, other))

    def lines(one):
        return int(run(one, "cat times 2> /dev/null | wc -l"))

    wait_until(lambda: lines(sandbox), "the first line")
    pause(sandbox)
    begun = time.monotonic_ns()
    assert daytona.get(sandbox.id).state == SandboxState.PAUSED
    with pytest.raises(DaytonaBadRequestError, match="not started"):
        sandbox.process.exec("true")
    before = lines(other)
    wait_until(lambda: lines(other) > before + 20, "many lines in the other one")
    held = time.monotonic_ns() - begun
    sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    after = lines(sandbox)
    wait_until(lambda: lines(sandbox) > after, "another line")
    run(sandbox, f"kill {writer}")
    times = [int(line) for line in run(sandbox, "cat times").splitlines()]
    assert max(later - earlier for earlier, later in zip(times, times[1:])) >= held


def test_a_paused_sandbox_can_be_stopped_and_deleted(create, daytona):
    sandbox = create()
    sandbox.fs.upload_file(b"kept", "file")
    pause(sandbox)
    with pytest.raises(DaytonaBadRequestError):
        sandbox.pause()
    with pytest.raises(DaytonaBadRequestError, match="not stopped"):
        sandbox.archive()
    sandbox.stop()
    assert sandbox.state == SandboxState.STOPPED
    with pytest.raises(DaytonaBadRequestError, match="not started"):
        sandbox.pause()
    sandbox.start()
    assert sandbox.fs.download_file("file") == b"kept"
    pause(sandbox)
    sandbox.delete(wait=True)
    with pytest.raises(DaytonaNotFoundError):
        daytona.get(sandbox.id)


def sizes(sandbox):
    return sandbox.cpu, sandbox.memory, sandbox.disk


def sizes_inside(sandbox):
    """As the agent sees them; of a disk the file system takes some for itself."""
    seen = sandbox.get_metrics_latest()
    return seen.cpu_count, seen.mem_total / 2**30, -(-seen.disk_total // 2**30)


def test_a_running_sandbox_gets_more_processors_and_memory(sandbox, daytona):
    cpu, memory, disk = sizes(sandbox)
    assert sizes_inside(sandbox) == (cpu, memory, disk)
    # More than it has, and less than it gets.
    amount = memory * 2**30 + 100 * 2**20
    eat = f"head -c {amount} /dev/zero | tail -c {amount} | wc -c"
    assert int(run(sandbox, eat)) < amount
    sandbox.process.exec("nohup sleep 300 > /dev/null 2>&1 &")
    sandbox.resize(Resources(cpu=cpu + 1, memory=memory + 1))
    assert sandbox.state == SandboxState.STARTED
    for seen in (sandbox, daytona.get(sandbox.id)):
        assert sizes(seen) == (cpu + 1, memory + 1, disk)
    assert sizes_inside(sandbox) == (cpu + 1, memory + 1, disk)
    assert int(run(sandbox, eat)) == amount
    assert run(sandbox, "pgrep -x sleep") != "", "it was not restarted"


def test_a_stopped_sandbox_gets_a_larger_disk_and_less_of_the_rest(create, daytona):
    sandbox = create()
    sandbox.fs.upload_file(NOISE, "file")
    cpu, memory, disk = sizes(sandbox)
    sandbox.resize(Resources(cpu=cpu + 1, memory=memory + 1))
    sandbox.stop()
    sandbox.resize(Resources(cpu=cpu, memory=memory, disk=disk + 2))
    assert sandbox.state == SandboxState.STOPPED
    assert sizes(daytona.get(sandbox.id)) == (cpu, memory, disk + 2)
    sandbox.start()
    assert sizes_inside(sandbox) == (cpu, memory, disk + 2)
    assert sandbox.fs.download_file("file") == NOISE
    run(sandbox, f"fallocate -l {disk}G more")


def test_sizes_that_cannot_be_had_are_refused_and_change_nothing(create, daytona):
    sandbox = create()
    cpu, memory, disk = before = sizes(sandbox)
    for resources, reason in (
        (Resources(disk=disk + 1), "stopped"),
        (Resources(cpu=10**6), "cpu"),
        (Resources(memory=10**6), "memory"),
        (Resources(), "at least one"),
        (Resources(cpu=cpu, memory=memory), "at least one"),
    ):
        with pytest.raises(DaytonaBadRequestError, match=reason):
            sandbox.resize(resources)
    # The client itself.
    with pytest.raises(DaytonaValidationError, match="gpu"):
        sandbox.resize(Resources(gpu=1))
    assert sizes(daytona.get(sandbox.id)) == before
    sandbox.resize(Resources(cpu=cpu + 1))
    with pytest.raises(DaytonaBadRequestError, match="stopped"):
        sandbox.resize(Resources(cpu=cpu))
    sandbox.stop()
    with pytest.raises(DaytonaBadRequestError, match="smaller"):
        sandbox.resize(Resources(disk=disk - 1))
    assert sizes(daytona.get(sandbox.id)) == (cpu + 1, memory, disk)


def test_a_fork_begins_with_the_files_and_goes_its_own_way(create, fork, daytona, unique):
    parent = create(env_vars={"A": "1"}, labels={"mine": unique}, language="javascript")
    parent.fs.upload_file(NOISE, "file")
    parent.process.exec("nohup sleep 300 > /dev/null 2>&1 &")
    child = fork(parent, name=f"{unique}-fork")
    assert (child.state, child.name) == (SandboxState.STARTED, f"{unique}-fork")
    assert daytona.get(child.name).id == child.id != parent.id
    assert (sizes(child), child.snapshot, child.user) == (sizes(parent), parent.snapshot, parent.user)
    assert child.labels == parent.labels == {"mine": unique, "code-toolbox-language": "javascript"}
    assert child.fs.download_file("file") == NOISE
    assert child.process.code_run("console.log(process.env.A)").result == "1\n"
    assert child.process.exec("pgrep -x sleep").result == "", "files only"
    parent.refresh_data()
    assert parent.state == SandboxState.STARTED
    assert run(parent, "pgrep -x sleep") != "", "the parent ran on"

    parent.fs.upload_file(b"of the parent", "file")
    child.fs.upload_file(b"of the child", "other")
    assert child.fs.download_file("file") == NOISE
    assert parent.process.exec("ls other").exit_code != 0
    parent.delete(wait=True)
    assert child.fs.download_file("file") == NOISE
    child.stop()
    child.start()
    assert child.fs.download_file("other") == b"of the child"


def test_forks_know_where_they_come_from(create, fork, daytona, unique):
    parent = create(name=unique)
    parent.stop()
    child = fork(parent)
    assert child.name == child.id
    assert daytona.get(parent.id).state == SandboxState.STOPPED, "and its fork is started"
    with pytest.deprecated_call():
        grandchild = child._experimental_fork()
    # Only the generated client can ask for it.
    api = parent._sandbox_api
    try:
        other = fork(parent)
        assert [found.id for found in api.get_sandbox_forks(parent.id)] == [child.id, other.id]
        assert [found.id for found in api.get_sandbox_forks(child.id)] == [grandchild.id]
        assert api.get_sandbox_forks(grandchild.id) == []
        assert api.get_sandbox_parent(grandchild.id).id == child.id
        assert [found.id for found in api.get_sandbox_ancestors(grandchild.id)] == [parent.id, child.id]
        with pytest.raises(DaytonaConflictError, match=unique):
            child.fork(name=unique)
    finally:
        grandchild.delete()


def test_a_snapshot_of_a_sandbox_is_what_others_begin_with(create, daytona, snapshot):
    source = create()
    source.fs.upload_file(NOISE, "file")
    run(source, "sudo touch /etc/mine")
    source.create_snapshot(snapshot)
    assert source.state == SandboxState.STARTED
    assert daytona.get(source.id).state == SandboxState.STARTED
    made = daytona.snapshot.get(snapshot)
    assert (made.name, made.state, made.general) == (snapshot, "active", False)
    assert made.id in [item.id for item in daytona.snapshot.list().items]
    assert (made.cpu, made.mem, made.disk) == sizes(source)
    with pytest.raises(DaytonaConflictError, match=snapshot):
        source.create_snapshot(snapshot)

    # Neither what comes later nor the end of its source matters to it.
    source.fs.upload_file(b"later", "file")
    source.delete(wait=True)
    other = create(snapshot=snapshot)
    assert other.snapshot == snapshot
    assert other.fs.download_file("file") == NOISE
    assert run(other, "id -un; pwd; ls /etc/mine") == "daytona\n/home/daytona\n/etc/mine\n"


def test_a_stopped_sandbox_stays_stopped_while_a_snapshot_is_made_of_it(create, daytona, snapshot):
    source = create()
    source.fs.upload_file(b"kept", "file")
    source.stop()
    with pytest.deprecated_call():
        source._experimental_create_snapshot(snapshot)
    assert daytona.get(source.id).state == SandboxState.STOPPED
    assert create(snapshot=snapshot).fs.download_file("file") == b"kept"
    with pytest.raises(DaytonaBadRequestError, match="name"):
        source.create_snapshot("")


def test_what_failed_is_recovered_once_its_reason_is_gone(volume, create, daytona):
    mount = VolumeMount(volume_id=volume.id, mount_path="/data")
    sandbox, other = create(volumes=[mount]), create(volumes=[mount])
    with pytest.raises(DaytonaBadRequestError, match="recoverable") as refused:
        sandbox.recover()
    assert refused.value.code == "SANDBOX_NOT_RECOVERABLE"
    sandbox.fs.upload_file(b"kept", "file")
    # The users are a file in the volume, so that another sandbox can take one away and give it back.
    run(sandbox, "sudo cp /etc/passwd /data/passwd && sudo ln -sf /data/passwd /etc/passwd")
    sandbox.stop()
    run(other, "sudo sed -i s/^daytona:/gone:/ /data/passwd")
    with pytest.raises(DaytonaBadRequestError, match="daytona"):
        sandbox.start()
    sandbox.refresh_data()
    assert (sandbox.state, sandbox.recoverable) == (SandboxState.ERROR, True)
    assert "daytona" in sandbox.error_reason
    with pytest.raises(DaytonaBadRequestError, match="daytona"):
        sandbox.recover()
    run(other, "sudo sed -i s/^gone:/daytona:/ /data/passwd")
    sandbox.recover()
    assert (sandbox.state, sandbox.error_reason) == (SandboxState.STARTED, None)
    assert daytona.get(sandbox.id).recoverable is False
    assert sandbox.fs.download_file("file") == b"kept"


def test_a_sandbox_can_be_waited_for_while_another_client_changes_it(sandbox, daytona):
    other = daytona.get(sandbox.id)
    other.stop()
    sandbox.wait_for_sandbox_stop()
    assert sandbox.state == SandboxState.STOPPED
    with pytest.raises(DaytonaTimeoutError):
        sandbox.wait_for_sandbox_start(timeout=1)
    other.start()
    sandbox.wait_for_sandbox_start()
    assert sandbox.state == SandboxState.STARTED


def test_data_is_refreshed_with_what_others_changed(sandbox, daytona):
    other = daytona.get(sandbox.id)
    other.set_labels({"other": "1"})
    other.set_autostop_interval(33)
    assert (sandbox.labels, sandbox.auto_stop_interval) != ({"other": "1"}, 33)
    sandbox.refresh_data()
    assert (sandbox.labels, sandbox.auto_stop_interval) == ({"other": "1"}, 33)
    other.delete(wait=True)
    with pytest.raises(DaytonaNotFoundError):
        sandbox.refresh_data()
