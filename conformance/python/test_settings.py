"""Changing a sandbox that exists."""

import pytest
from daytona import DaytonaBadRequestError, ListSandboxesQuery


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
