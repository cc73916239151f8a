"""Finding sandboxes again: by id, by name, by list."""

from datetime import datetime, timedelta, timezone

import pytest
from daytona import (
    DaytonaNotFoundError,
    ListSandboxesQuery,
    SandboxListSortDirection,
    SandboxListSortField,
    SandboxState,
)

from conftest import wait_until


def ids(daytona, **query):
    return [sandbox.id for sandbox in daytona.list(ListSandboxesQuery(**query))]


def test_a_sandbox_is_found_by_id_and_by_name(create, daytona, unique):
    sandbox = create(name=unique, env_vars={"A": "1"})
    for key in (sandbox.id, unique):
        found = daytona.get(key)
        assert (found.id, found.name, found.state) == (sandbox.id, unique, SandboxState.STARTED)
        assert found.process.exec("echo $A").result == "1\n"


def test_a_deleted_sandbox_is_not_found_by_name_and_the_name_is_free(create, daytona, unique):
    first = create(name=unique)
    daytona.delete(first, wait=True)
    with pytest.raises(DaytonaNotFoundError):
        daytona.get(unique)
    assert create(name=unique).id != first.id


def test_a_name_is_free_as_soon_as_its_delete_is_accepted(create, daytona, unique):
    first = create(name=unique)
    daytona.delete(first)
    assert daytona.get(create(name=unique).name).id != first.id


def test_a_list_item_can_be_used_like_any_sandbox(create, daytona, unique):
    sandbox = create(labels={"mine": unique}, env_vars={"A": "1"}, language="javascript")
    (item,) = daytona.list(ListSandboxesQuery(labels={"mine": unique}))
    assert (item.id, item.state, item.labels) == (sandbox.id, SandboxState.STARTED, sandbox.labels)
    assert item.process.code_run("console.log(process.env.A)").result == "1\n"
    item.stop()
    assert item.state == SandboxState.STOPPED


def test_all_labels_asked_for_must_match(create, daytona, unique):
    one = create(labels={"mine": unique, "n": "1"})
    two = create(labels={"mine": unique, "n": "2"})
    assert set(ids(daytona, labels={"mine": unique})) == {one.id, two.id}
    assert ids(daytona, labels={"mine": unique, "n": "2"}) == [two.id]
    assert ids(daytona, labels={"mine": unique, "n": "3"}) == []
    assert {one.id, two.id} <= set(ids(daytona)), "a list without a query has everything"


def test_pages_are_followed_to_the_end(create, daytona, unique):
    created = [create(labels={"mine": unique}).id for _ in range(5)]
    found = ids(daytona, labels={"mine": unique}, limit=2)
    assert len(found) == 5 and set(found) == set(created)


def test_lists_are_sorted_as_asked(create, daytona, unique):
    for name in "bac":
        create(name=f"{unique}-{name}", labels={"mine": unique})
    for order, expected in ((SandboxListSortDirection.ASC, "abc"), (SandboxListSortDirection.DESC, "cba")):
        query = ListSandboxesQuery(
            labels={"mine": unique}, sort=SandboxListSortField.NAME, order=order, limit=2
        )
        assert [sandbox.name[-1] for sandbox in daytona.list(query)] == list(expected)


def test_each_filter_keeps_and_leaves_out(create, daytona, unique):
    started = create(name=f"{unique}-x", labels={"mine": unique})
    stopped = create(name=f"{unique}-y", labels={"mine": unique}, public=True)
    stopped.stop()
    wait_until(lambda: daytona.get(stopped.id).state == SandboxState.STOPPED, "the stop")
    now = datetime.now(timezone.utc)
    long_ago, later = now - timedelta(days=1), now + timedelta(days=1)
    both = {started.id, stopped.id}
    for query, expected in (
        ({"states": [SandboxState.STARTED]}, {started.id}),
        ({"states": [SandboxState.STOPPED]}, {stopped.id}),
        ({"states": [SandboxState.STARTED, SandboxState.STOPPED]}, both),
        ({"name": f"{unique}-x"}, {started.id}),
        ({"name": unique.upper()}, both),
        ({"id": started.id[:13]}, {started.id}),
        ({"is_public": True}, {stopped.id}),
        ({"is_public": False}, {started.id}),
        ({"snapshots": ["default"]}, both),
        ({"snapshots": ["another"]}, set()),
        ({"targets": [started.target]}, both),
        ({"min_cpu": started.cpu, "max_cpu": started.cpu}, both),
        ({"min_cpu": started.cpu + 1}, set()),
        ({"max_memory_gib": started.memory}, both),
        ({"min_disk_gib": started.disk + 1}, set()),
        ({"created_at_after": long_ago, "created_at_before": later}, both),
        ({"created_at_after": later}, set()),
        ({"last_activity_after": long_ago}, both),
        ({"last_activity_before": long_ago}, set()),
    ):
        found = set(ids(daytona, labels={"mine": unique}, **query))
        assert found == expected, query
