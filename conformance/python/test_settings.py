"""Changing a sandbox that exists."""

import pytest
from daytona import (
    DaytonaBadRequestError,
    DaytonaUnprocessableEntityError,
    DaytonaValidationError,
    ListSandboxesQuery,
    SandboxState,
)
from daytona_api_client.exceptions import BadRequestException


def test_labels_are_replaced_as_a_whole(create, daytona, unique):
    sandbox = create(labels={"old": unique})
    labels = {"new": unique, "code-toolbox-language": "javascript"}
    assert sandbox.set_labels(labels) == labels
    found = daytona.get(sandbox.id)
    assert found.labels == labels
    assert list(daytona.list(ListSandboxesQuery(labels={"old": unique}))) == []
    assert found.process.code_run("console.log(1 + 1)").result == "2\n", "the language follows the label"


def test_the_intervals_are_set_and_kept(sandbox, daytona):
    sandbox.set_autostop_interval(30)
    sandbox.set_auto_archive_interval(120)
    sandbox.set_auto_delete_interval(240)
    sandbox.set_ttl(600)
    found = daytona.get(sandbox.id)
    assert (found.auto_stop_interval, found.auto_archive_interval, found.auto_delete_interval) == (30, 120, 240)
    assert found.auto_destroy_at is not None


def test_the_intervals_can_be_switched_off(create, daytona):
    sandbox = create(auto_stop_interval=5, auto_delete_interval=5, ttl_minutes=5)
    sandbox.set_autostop_interval(0)
    sandbox.set_auto_delete_interval(-1)
    sandbox.set_ttl(0)
    found = daytona.get(sandbox.id)
    assert (found.auto_stop_interval, found.auto_delete_interval, found.auto_destroy_at) == (0, -1, None)


def test_no_time_until_the_archive_is_the_longest_one(sandbox, daytona):
    sandbox.set_auto_archive_interval(0)
    assert daytona.get(sandbox.id).auto_archive_interval == 43200


def test_no_time_until_the_delete_makes_a_stop_one(create, daytona):
    sandbox = create()
    sandbox.set_auto_delete_interval(0)
    assert daytona.get(sandbox.id).auto_delete_interval == 0
    sandbox.stop()
    assert sandbox.state == SandboxState.DESTROYED
    assert sandbox.id not in {other.id for other in daytona.list()}


def test_the_intervals_of_a_stopped_sandbox_are_set(create, daytona):
    sandbox = create()
    sandbox.stop()
    sandbox.set_autostop_interval(30)
    sandbox.set_auto_archive_interval(120)
    sandbox.set_auto_delete_interval(240)
    found = daytona.get(sandbox.id)
    assert found.state == SandboxState.STOPPED
    assert (found.auto_stop_interval, found.auto_archive_interval, found.auto_delete_interval) == (30, 120, 240)


def test_a_pause_by_itself_can_take_the_place_of_a_stop(sandbox, daytona):
    sandbox.set_autostop_interval(0)
    try:
        sandbox.set_auto_pause_interval(60)
    except DaytonaUnprocessableEntityError as reason:
        pytest.skip(f"this host cannot pause: {reason}")
    found = daytona.get(sandbox.id)
    assert (found.auto_stop_interval, found.auto_pause_interval) == (0, 60)
    sandbox.set_auto_pause_interval(0)
    assert daytona.get(sandbox.id).auto_pause_interval == 0


def test_negative_intervals_are_refused_but_for_the_delete(sandbox, daytona):
    before = daytona.get(sandbox.id)
    api = sandbox._sandbox_api
    for by_client, by_server, field in (
        (sandbox.set_autostop_interval, api.set_autostop_interval, "autoStopInterval"),
        (sandbox.set_auto_archive_interval, api.set_auto_archive_interval, "autoArchiveInterval"),
        (sandbox.set_auto_pause_interval, api.set_auto_pause_interval, "autoPauseInterval"),
        (sandbox.set_ttl, api.set_ttl, "ttlMinutes"),
    ):
        with pytest.raises(DaytonaValidationError):
            by_client(-1)
        with pytest.raises(BadRequestException, match=field):
            by_server(sandbox.id, -1)
    sandbox.set_auto_delete_interval(-5)
    after = daytona.get(sandbox.id)
    assert (after.auto_stop_interval, after.auto_archive_interval, after.auto_destroy_at) == (
        before.auto_stop_interval,
        before.auto_archive_interval,
        None,
    )
    assert after.auto_delete_interval == -1


def test_an_interval_beyond_reason_is_refused(sandbox, daytona):
    with pytest.raises(DaytonaBadRequestError, match="autoStopInterval"):
        sandbox.set_autostop_interval(10**9)
    assert daytona.get(sandbox.id).auto_stop_interval == 15


def test_a_sandbox_can_be_made_public_and_private(sandbox, daytona):
    sandbox.set_public(True)
    assert daytona.get(sandbox.id).public is True
    sandbox.set_public(False)
    assert daytona.get(sandbox.id).public is False


def test_activity_can_be_told(sandbox, daytona):
    before = daytona.get(sandbox.id).last_activity_at
    sandbox.refresh_activity()
    after = daytona.get(sandbox.id).last_activity_at
    assert after and (before is None or after >= before)
