"""Creating sandboxes: what is asked for is there when the call returns."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from daytona import CodeLanguage, CreateSandboxFromSnapshotParams, Daytona, DaytonaConfig, SandboxState


def test_a_sandbox_without_parameters_runs_with_the_defaults(sandbox):
    assert sandbox.state == SandboxState.STARTED
    assert str(uuid.UUID(sandbox.id)) == sandbox.id
    assert sandbox.name == sandbox.id
    assert sandbox.snapshot == "default"
    assert sandbox.user == "daytona"
    assert sandbox.env == {}
    assert sandbox.labels == {"code-toolbox-language": "python"}
    assert (sandbox.public, sandbox.kvm, sandbox.network_block_all) == (False, False, False)
    assert (sandbox.auto_stop_interval, sandbox.auto_archive_interval, sandbox.auto_delete_interval) == (15, 10080, -1)
    assert sandbox.cpu >= 1 and sandbox.memory >= 1 and sandbox.disk >= 1 and sandbox.gpu == 0
    assert sandbox.error_reason is None
    assert sandbox.created_at and sandbox.updated_at
    assert sandbox.organization_id and sandbox.target and sandbox.toolbox_proxy_url


def test_create_answers_the_finished_state(daytona):
    # Without events and before any poll, so that the state can only be that of the create's own answer.
    asked = []
    polling = Daytona(DaytonaConfig(use_deprecated_polling=True))
    get = polling._sandbox_api.get_sandbox
    polling._sandbox_api.get_sandbox = lambda *args, **kwargs: (asked.append(args), get(*args, **kwargs))[1]
    sandbox = polling.create()
    assert sandbox.state == SandboxState.STARTED
    assert asked == []
    sandbox.refresh_data()
    assert len(asked) == 1, "the count of reads cannot fail"
    daytona.delete(sandbox)


def test_everything_that_can_be_asked_for_is_kept(create, daytona, unique):
    sandbox = create(
        name=unique,
        language=CodeLanguage.TYPESCRIPT,
        env_vars={"A": "1", "EMPTY": "", "UMLAUT": "ä b"},
        labels={"k": "v", "a/b.c": ""},
        public=True,
        auto_stop_interval=7,
        auto_archive_interval=60,
        auto_delete_interval=120,
        ttl_minutes=600,
        target="us",
    )
    for seen in (sandbox, daytona.get(sandbox.id)):
        assert seen.name == unique
        assert seen.env == {"A": "1", "EMPTY": "", "UMLAUT": "ä b"}
        assert seen.labels == {"k": "v", "a/b.c": "", "code-toolbox-language": "typescript"}
        assert seen.public is True
        assert (seen.auto_stop_interval, seen.auto_archive_interval, seen.auto_delete_interval) == (7, 60, 120)
        assert seen.auto_destroy_at is not None
    result = sandbox.process.exec('printf "%s|%s|%s" "$A" "${EMPTY-unset}" "$UMLAUT"')
    assert result.result == "1||ä b"


def test_the_snapshot_can_be_named(create):
    assert create(snapshot="default").snapshot == "default"


def test_another_user_of_the_image_can_be_asked_for(create):
    sandbox = create(os_user="root")
    assert sandbox.user == "root"
    assert sandbox.process.exec("id -un").result == "root\n"


def test_an_ephemeral_sandbox_is_gone_once_it_is_stopped(create, daytona):
    sandbox = create(ephemeral=True)
    assert sandbox.auto_delete_interval == 0
    sandbox.stop()
    assert sandbox.state == SandboxState.DESTROYED
    assert sandbox.id not in {other.id for other in daytona.list()}


def test_intervals_of_zero_are_no_limits(create):
    sandbox = create(auto_stop_interval=0, auto_archive_interval=0, auto_delete_interval=-1)
    assert sandbox.auto_stop_interval == 0
    assert sandbox.auto_archive_interval == 43200, "0 stands for the maximum"
    assert sandbox.auto_delete_interval == -1


@pytest.mark.timeout(180)
def test_twenty_sandboxes_can_be_created_at_once(daytona, unique):
    labels = {"batch": unique}

    def create_and_run(number):
        sandbox = daytona.create(CreateSandboxFromSnapshotParams(labels=labels, env_vars={"N": str(number)}))
        return sandbox, sandbox.process.exec("echo $N").result

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(create_and_run, range(20)))
    assert [output for _, output in results] == [f"{number}\n" for number in range(20)]
    assert len({sandbox.id for sandbox, _ in results}) == 20
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda result: daytona.delete(result[0]), results))
