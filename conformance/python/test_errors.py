"""What is refused, and as which of the client's error classes."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from daytona import (
    CreateSandboxFromSnapshotParams,
    Daytona,
    DaytonaAuthenticationError,
    DaytonaBadRequestError,
    DaytonaConfig,
    DaytonaConflictError,
    DaytonaError,
    DaytonaNotFoundError,
    DaytonaUnprocessableEntityError,
    DaytonaValidationError,
)

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_an_unknown_sandbox_is_not_found(daytona):
    for key in (UNKNOWN, "no-such-name"):
        with pytest.raises(DaytonaNotFoundError, match="not found") as raised:
            daytona.get(key)
        error = raised.value
        assert (error.status_code, error.source, error.code) == (404, "DAYTONA_API", "NOT_FOUND")


def test_a_wrong_key_is_an_authentication_error(sandbox):
    stranger = Daytona(DaytonaConfig(api_key="dtn_" + "0" * 64))
    for call in (
        lambda: stranger.get(sandbox.id),
        lambda: list(stranger.list()),
        stranger.create,
    ):
        with pytest.raises(DaytonaAuthenticationError) as raised:
            call()
        assert raised.value.status_code == 401


def test_a_wrong_key_does_not_open_a_sandbox(sandbox):
    assert sandbox.process.exec("echo open").result == "open\n"
    client = sandbox.process._api_client.api_client
    headers = dict(client.default_headers)
    try:
        client.default_headers["Authorization"] = "Bearer dtn_wrong"
        with pytest.raises(DaytonaAuthenticationError):
            sandbox.process.exec("echo open")
    finally:
        client.default_headers.update(headers)


def test_a_name_that_is_taken_is_a_conflict(create, unique):
    create(name=unique)
    with pytest.raises(DaytonaConflictError, match=unique) as raised:
        create(name=unique)
    assert raised.value.status_code == 409


def test_of_many_creates_with_one_name_one_wins(daytona, unique):
    def attempt(_):
        try:
            return daytona.create(CreateSandboxFromSnapshotParams(name=unique))
        except DaytonaConflictError:
            return None

    with ThreadPoolExecutor(5) as pool:
        winners = [sandbox for sandbox in pool.map(attempt, range(5)) if sandbox]
    assert len(winners) == 1
    assert daytona.get(unique).id == winners[0].id
    daytona.delete(winners[0])


def test_everything_wrong_with_a_create_is_named_at_once(daytona):
    with pytest.raises(DaytonaBadRequestError) as raised:
        daytona.create(
            CreateSandboxFromSnapshotParams(
                name="<b>bold</b>",
                snapshot="no-such-snapshot",
                os_user="-x",
                env_vars={"A=B": "1", "DAYTONA_X": "1"},
                auto_stop_interval=10**9,
            )
        )
    error = raised.value
    assert isinstance(error, DaytonaValidationError) and error.status_code == 400
    for word in ("name", "Snapshot no-such-snapshot not found", "user", "A=B", "DAYTONA_X", "autoStopInterval"):
        assert word in error.message


@pytest.mark.parametrize("name", ["a" * 300, "<b>bold</b>", "see http://x", "bell\a", UNKNOWN])
def test_a_bad_name_is_refused(daytona, name):
    with pytest.raises(DaytonaBadRequestError, match="(?i)name"):
        daytona.create(CreateSandboxFromSnapshotParams(name=name))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (CreateSandboxFromSnapshotParams(kvm=True), "kvm"),
    ],
)
def test_what_the_server_cannot_do_yet_is_refused_and_never_dropped(daytona, params, field):
    with pytest.raises(DaytonaUnprocessableEntityError, match=field):
        daytona.create(params)


def test_a_failed_create_leaves_nothing(daytona, unique):
    with pytest.raises(DaytonaError):
        daytona.create(CreateSandboxFromSnapshotParams(name=unique, snapshot="no-such-snapshot"))
    assert unique not in {sandbox.name for sandbox in daytona.list()}


def test_a_bad_variable_name_is_refused_by_execute(sandbox):
    with pytest.raises(DaytonaBadRequestError, match="1A"):
        sandbox.process.exec("true", env={"1A": "x"})


def test_an_empty_command_is_refused(sandbox):
    with pytest.raises(DaytonaBadRequestError):
        sandbox.process.exec(" ")
