"""Sandboxes: create, find, change, stop, start, delete."""

import os
import urllib.error
import urllib.request

import pytest
from conftest import MINOR, since, wait_until
from daytona import DaytonaError, SandboxState


def items(daytona, labels):
    """Lists are arrays before 0.108 and pages from then on."""
    listed = daytona.list(labels)
    return listed if MINOR < 108 else listed.items


def is_gone(daytona, sandbox):
    """Deletes are answered before the sandbox has gone."""
    try:
        return daytona.get(sandbox).state == SandboxState.DESTROYED
    except DaytonaError:
        return True


def test_a_sandbox_lives_and_ends(create, daytona, unique):
    sandbox = create(labels={"mine": unique}, env_vars={"A": "1"}, auto_stop_interval=30)
    assert sandbox.state == SandboxState.STARTED
    assert sandbox.labels["mine"] == unique
    assert sandbox.auto_stop_interval == 30

    found = daytona.get(sandbox.id)
    assert (found.id, found.state) == (sandbox.id, SandboxState.STARTED)
    assert found.process.exec("echo $A").result.strip() == "1"

    assert [item.id for item in items(daytona, {"mine": unique})] == [sandbox.id]
    assert items(daytona, {"mine": "another"}) == []
    assert sandbox.id in [item.id for item in items(daytona, None)], "a list without labels has everything"

    sandbox.set_labels({"mine": unique, "more": "ä"})
    assert items(daytona, {"more": "ä"})[0].labels == {"mine": unique, "more": "ä"}

    sandbox.process.exec("echo kept > kept")
    sandbox.stop()
    assert sandbox.state == SandboxState.STOPPED
    assert daytona.get(sandbox.id).state == SandboxState.STOPPED
    sandbox.start()
    assert sandbox.state == SandboxState.STARTED
    assert sandbox.process.exec("cat kept").result.strip() == "kept"

    # 0.140 refuses 0 by itself.
    sandbox.set_autostop_interval(20)
    sandbox.set_auto_archive_interval(60)
    sandbox.set_auto_delete_interval(-1)
    sandbox.refresh_data()
    assert (sandbox.auto_stop_interval, sandbox.auto_archive_interval, sandbox.auto_delete_interval) == (20, 60, -1)

    daytona.delete(sandbox)
    wait_until(lambda: is_gone(daytona, sandbox.id), "the end of the sandbox")


def test_a_delete_that_is_done_before_the_client_asks_again_is_no_failure(create, monkeypatch):
    sandbox = create()
    url = f"{os.environ['DAYTONA_API_URL']}/sandbox/{sandbox.id}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {os.environ['DAYTONA_API_KEY']}"})

    def is_gone_for_others():
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            return error.code == 404
        return False

    refresh = type(sandbox).refresh_data

    def refresh_late(self):
        wait_until(is_gone_for_others, "the end of the sandbox")
        refresh(self)

    # Each of these releases asks for the sandbox when its delete was answered.
    monkeypatch.setattr(type(sandbox), "refresh_data", refresh_late)
    sandbox.delete()
    assert sandbox.state == SandboxState.DESTROYED


@since(108)
def test_pages_are_counted(create, daytona, unique):
    for _ in range(2):
        create(labels={"mine": unique})
    page = daytona.list({"mine": unique}, page=2, limit=1)
    assert (len(page.items), page.total, page.page, page.total_pages) == (1, 2, 2, 2)


def test_what_is_missing_is_an_error_with_a_reason(daytona):
    with pytest.raises(DaytonaError, match="(?i)not found"):
        daytona.get("00000000-0000-4000-8000-000000000000")


def test_snapshots_are_listed(daytona):
    listed = daytona.snapshot.list()
    snapshots = listed if isinstance(listed, list) else listed.items
    assert "default" in [snapshot.name for snapshot in snapshots]
