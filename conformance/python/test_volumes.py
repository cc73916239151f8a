"""Volumes: made, mounted by several sandboxes at once, listed, refused, deleted."""

import asyncio

import pytest
from daytona import (
    AsyncDaytona,
    CreateSandboxFromSnapshotParams,
    DaytonaBadRequestError,
    DaytonaConflictError,
    DaytonaNotFoundError,
    VolumeMount,
)

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_volume_is_made_on_demand_and_found_again(daytona, unique):
    with pytest.raises(DaytonaNotFoundError):
        daytona.volume.get(unique)
    volume = daytona.volume.get(unique, create=True)
    assert (volume.name, volume.state) == (unique, "ready")
    assert daytona.volume.get(unique, create=True).id == volume.id
    assert volume.id in {found.id for found in daytona.volume.list()}
    daytona.volume.delete(volume)
    assert volume.id not in {found.id for found in daytona.volume.list()}
    with pytest.raises(DaytonaNotFoundError):
        daytona.volume.get(unique)
    # The name is free.
    again = daytona.volume.create(unique)
    assert again.id != volume.id
    daytona.volume.delete(again)


def test_what_one_sandbox_writes_the_other_reads(volume, create):
    one = create(volumes=[VolumeMount(volume_id=volume.id, mount_path="/home/daytona/volume")])
    other = create(volumes=[VolumeMount(volume_id=volume.name, mount_path="/mnt/other")])
    assert [mount.volume_id for mount in other.volumes] == [volume.id]
    one.fs.upload_file(b"one\n", "volume/file")
    assert other.process.exec("cat /mnt/other/file").result == "one\n"
    assert other.process.exec("echo two >> /mnt/other/file && mv /mnt/other/file /mnt/other/renamed").exit_code == 0
    assert one.fs.download_file("volume/renamed") == b"one\ntwo\n"
    one.stop()
    one.start()
    assert one.fs.download_file("volume/renamed") == b"one\ntwo\n"


def test_a_subpath_is_all_that_a_sandbox_sees(volume, create):
    mount = VolumeMount(volume_id=volume.id, mount_path="/data", subpath="users/alice")
    part = create(volumes=[mount])
    whole = create(volumes=[VolumeMount(volume_id=volume.id, mount_path="/data")])
    assert part.process.exec("echo mine > /data/file").exit_code == 0
    assert whole.process.exec("cat /data/users/alice/file").result == "mine\n"
    assert part.process.exec("ls -A /data").result == "file\n"


def test_a_volume_in_use_is_not_deleted(daytona, volume, create):
    sandbox = create(volumes=[VolumeMount(volume_id=volume.id, mount_path="/data")])
    with pytest.raises(DaytonaConflictError, match="in use") as raised:
        daytona.volume.delete(volume)
    assert sandbox.id in str(raised.value)
    daytona.delete(sandbox)
    daytona.volume.delete(volume)


def test_a_volume_that_is_not_there_or_has_no_place_is_refused(daytona, volume):
    def params(volume_id=volume.id, mount_path="/data", subpath=None):
        mount = VolumeMount(volume_id=volume_id, mount_path=mount_path, subpath=subpath)
        return CreateSandboxFromSnapshotParams(volumes=[mount])

    with pytest.raises(DaytonaNotFoundError, match=UNKNOWN):
        daytona.create(params(volume_id=UNKNOWN))
    for path in ("/", "data", "/a/../b", "/etc/x", "/proc"):
        with pytest.raises(DaytonaBadRequestError, match="mount path"):
            daytona.create(params(mount_path=path))
    for subpath in ("../x", "/x", "a//b"):
        with pytest.raises(DaytonaBadRequestError, match="subpath"):
            daytona.create(params(subpath=subpath))
    with pytest.raises(DaytonaBadRequestError, match="already exists"):
        daytona.volume.create(volume.name)


def test_the_asynchronous_client_does_the_same(unique):
    async def body():
        async with AsyncDaytona() as daytona:
            volume = await daytona.volume.get(unique, create=True)
            assert volume.id in {found.id for found in await daytona.volume.list()}
            mount = VolumeMount(volume_id=volume.id, mount_path="/data")
            sandbox = await daytona.create(CreateSandboxFromSnapshotParams(volumes=[mount]))
            try:
                assert (await sandbox.process.exec("echo x > /data/file; cat /data/file")).result == "x\n"
                with pytest.raises(DaytonaConflictError):
                    await daytona.volume.delete(volume)
            finally:
                await daytona.delete(sandbox)
            await daytona.volume.delete(volume)
            with pytest.raises(DaytonaNotFoundError):
                await daytona.volume.get(unique)

    asyncio.run(body())
