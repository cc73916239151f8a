"""Volumes, in all releases that have them."""

import contextlib

import pytest
from daytona import VolumeMount


@pytest.fixture
def volume(daytona, unique):
    volume = daytona.volume.get(unique, create=True)
    yield volume
    with contextlib.suppress(Exception):
        daytona.volume.delete(volume)


def test_a_volume_is_made_on_demand_listed_and_deleted(daytona, unique):
    volume = daytona.volume.get(unique, create=True)
    assert volume.name == unique
    assert daytona.volume.get(unique).id == volume.id
    assert volume.id in {found.id for found in daytona.volume.list()}
    daytona.volume.delete(volume)
    assert volume.id not in {found.id for found in daytona.volume.list()}


def test_what_one_sandbox_writes_the_other_reads(daytona, volume, create):
    sandboxes = [create(volumes=[VolumeMount(volume_id=volume.id, mount_path="/data")]) for _ in range(2)]
    assert sandboxes[0].process.exec("echo one > /data/file").exit_code == 0
    assert sandboxes[1].process.exec("cat /data/file").result.strip() == "one"
    # Not translated by these releases: the generated client's own class.
    with pytest.raises(Exception, match="in use"):
        daytona.volume.delete(volume)
    for sandbox in sandboxes:
        daytona.delete(sandbox)
    daytona.volume.delete(volume)
