"""Snapshots of images in a registry, and sandboxes of them."""

import os

import pytest
from conftest import wait_until
from daytona import (
    CreateSnapshotParams,
    DaytonaConflictError,
    DaytonaError,
    DaytonaNotFoundError,
    DaytonaValidationError,
    Resources,
)
from daytona_api_client.exceptions import ApiException

IMAGE = os.environ["CONFORMANCE_IMAGE"]


@pytest.fixture
def snapshot(daytona, unique):
    made = daytona.snapshot.create(CreateSnapshotParams(name=unique, image=IMAGE))
    yield made
    try:
        daytona.snapshot.delete(daytona.snapshot.get(made.name))
    except DaytonaNotFoundError:
        pass


def test_create_waits_until_the_snapshot_is_active(snapshot, unique):
    assert snapshot.name == unique
    assert snapshot.state == "active"
    assert snapshot.image_name == IMAGE
    assert (snapshot.cpu, snapshot.mem, snapshot.disk, snapshot.gpu) == (1, 1, 3, 0)
    assert snapshot.size > 0
    assert snapshot.error_reason is None


def test_it_is_listed_and_found_by_name_and_id(daytona, snapshot):
    assert daytona.snapshot.get(snapshot.name).id == snapshot.id
    assert daytona.snapshot.get(snapshot.id).name == snapshot.name
    page = daytona.snapshot.list()
    assert snapshot.id in [item.id for item in page.items]
    general = [item.general for item in page.items]
    assert general == sorted(general), "general ones come last"


def test_a_sandbox_of_it_runs_and_outlives_it(daytona, create, snapshot):
    sandbox = create(snapshot=snapshot.name)
    assert sandbox.snapshot == snapshot.name
    assert sandbox.process.exec("echo kept > file; echo $DAYTONA_SANDBOX_SNAPSHOT").result.strip() == snapshot.name
    sandbox.stop()
    daytona.snapshot.delete(snapshot)
    sandbox.start()
    assert sandbox.process.exec("cat file").result.strip() == "kept"


def test_sizes_and_entrypoint_are_those_that_were_asked_for(daytona, create, unique):
    params = CreateSnapshotParams(
        name=unique,
        image=IMAGE,
        resources=Resources(cpu=1, memory=2, disk=4),
        entrypoint=["/bin/sh", "-c", "echo ran > /tmp/ran; sleep 1000"],
    )
    snapshot = daytona.snapshot.create(params)
    assert (snapshot.mem, snapshot.disk) == (2, 4)
    assert snapshot.entrypoint == params.entrypoint
    sandbox = create(snapshot=unique)
    assert (sandbox.memory, sandbox.disk) == (2, 4)
    waited = "n=0; until [ -s /tmp/ran ] || [ $n -ge 100 ]; do n=$((n+1)); sleep 0.1; done; cat /tmp/ran"
    assert sandbox.process.exec(waited).result.strip() == "ran"
    daytona.snapshot.delete(snapshot)


def test_a_deleted_snapshot_is_not_found_and_its_name_is_free(daytona, snapshot):
    daytona.snapshot.delete(snapshot)

    def is_gone():
        try:
            daytona.snapshot.get(snapshot.name)
        except DaytonaNotFoundError:
            return True
        return False

    wait_until(is_gone, "the end of the snapshot")
    again = daytona.snapshot.create(CreateSnapshotParams(name=snapshot.name, image=IMAGE))
    assert again.id != snapshot.id


def test_an_image_that_is_not_there_fails_with_the_reason(daytona, unique):
    missing = IMAGE.rsplit(":", 1)[0] + ":no-such-tag"
    with pytest.raises(DaytonaError, match="no-such-tag"):
        daytona.snapshot.create(CreateSnapshotParams(name=unique, image=missing))
    failed = daytona.snapshot.get(unique)
    assert failed.state == "error"
    daytona.snapshot.delete(failed)


def test_what_breaks_the_rules_is_refused(daytona, snapshot, unique):
    with pytest.raises(DaytonaConflictError):
        daytona.snapshot.create(CreateSnapshotParams(name=snapshot.name, image=IMAGE))
    for image in ("python", "python:latest"):
        with pytest.raises(DaytonaValidationError):
            daytona.snapshot.create(CreateSnapshotParams(name=unique + "x", image=image))
    # This call of the client translates no errors.
    with pytest.raises(ApiException, match="inactive") as refused:
        daytona.snapshot.activate(snapshot)
    assert refused.value.status == 400
    general = daytona.snapshot.get("default")
    with pytest.raises(DaytonaError, match="General"):
        daytona.snapshot.delete(general)
