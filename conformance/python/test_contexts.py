"""Files that images are built from, as the client uploads them: to an https address that the system trusts."""

import io
import tarfile

import pytest
from daytona import Image
from daytona._sync.object_storage import ObjectStorage
from daytona._sync.snapshot import SnapshotService


@pytest.fixture
def access(daytona):
    return daytona._object_storage_api.get_push_access()


@pytest.fixture
def storage(access):
    return ObjectStorage(
        access.storage_url,
        access.access_key,
        access.secret,
        access.session_token,
        access.bucket,
        region=access.region,
    )


def context(storage, access, context_hash):
    """What lies in the object storage, as names and contents."""
    stored = storage.store.get(f"{access.organization_id}/{context_hash}/context.tar").bytes()
    with tarfile.open(fileobj=io.BytesIO(stored.to_bytes())) as tar:
        return {
            member.name: tar.extractfile(member).read() if member.isfile() else None
            for member in tar.getmembers()
        }


def test_a_folder_and_a_file_of_an_image_are_uploaded(daytona, access, storage, tmp_path):
    folder = tmp_path / "ctx"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"one")
    (folder / "deep" / "b.txt").write_bytes(b"two")
    single = tmp_path / "single.txt"
    single.write_bytes(b"three")
    image = Image.base("busybox").add_local_dir(str(folder), "/app").add_local_file(str(single), "/single.txt")
    hashes = SnapshotService.process_image_context(daytona._object_storage_api, image)
    assert len(hashes) == 2
    uploaded = {}
    for context_hash in hashes:
        uploaded |= context(storage, access, context_hash)
    assert sorted(content for content in uploaded.values() if content) == [b"one", b"three", b"two"]
    # What is there already is not uploaded again.
    assert SnapshotService.process_image_context(daytona._object_storage_api, image) == hashes


def test_a_context_of_many_parts_arrives_whole(access, storage, tmp_path):
    # More than four parts of 5 MiB, so that they come beside each other and out of order.
    content = b"".join(number.to_bytes(4, "big") * 1024 for number in range(7 * 1024))
    large = tmp_path / "large.bin"
    large.write_bytes(content)
    context_hash = storage.upload(str(large), access.organization_id, "large.bin")
    assert context(storage, access, context_hash) == {"large.bin": content}


def test_another_organizations_prefix_is_refused(storage, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a")
    with pytest.raises(Exception, match="(?i)denied|forbidden|403"):
        storage.upload(str(file), "another-organization", "a.txt")
