"""Files and folders."""

import pytest
from conftest import since
from daytona import DaytonaError, FileUpload

EVERY_BYTE = bytes(range(256)) * 3


@pytest.fixture
def folder(sandbox, unique):
    """A folder of the sandbox's own disk for one test."""
    path = f"/tmp/{unique}"
    sandbox.fs.create_folder(path, "755")
    return path


@pytest.mark.parametrize("name", ["plain.txt", "with space", "ünï/cödé", "quote\"'s"])
def test_a_file_comes_back_as_it_was_sent(sandbox, folder, name, tmp_path):
    sandbox.fs.upload_file(EVERY_BYTE, f"{folder}/{name}")
    assert sandbox.fs.download_file(f"{folder}/{name}") == EVERY_BYTE
    sandbox.fs.download_file(f"{folder}/{name}", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == EVERY_BYTE


def test_a_relative_path_is_one_of_the_working_directory(sandbox, unique):
    sandbox.fs.upload_file(b"x", unique)
    assert sandbox.fs.download_file(unique) == b"x"
    assert sandbox.process.exec(f"cat {unique}; rm {unique}").result.strip() == "x"


def test_many_files_go_in_one_call(sandbox, folder, tmp_path):
    (tmp_path / "local").write_bytes(b"from a path")
    sandbox.fs.upload_files(
        [
            FileUpload(b"one", f"{folder}/deep/1"),
            FileUpload(str(tmp_path / "local"), f"{folder}/2"),
            FileUpload(b"", f"{folder}/empty"),
        ]
    )
    assert sandbox.fs.download_file(f"{folder}/deep/1") == b"one"
    assert sandbox.fs.download_file(f"{folder}/2") == b"from a path"
    assert sandbox.fs.get_file_info(f"{folder}/empty").size == 0


@since(110)
def test_many_files_come_in_one_call(sandbox, folder):
    from daytona import FileDownloadRequest

    sandbox.fs.upload_file(b"one", f"{folder}/1")
    sandbox.fs.upload_file(EVERY_BYTE, f"{folder}/ä")
    paths = [f"{folder}/1", f"{folder}/missing", f"{folder}/ä"]
    answers = sandbox.fs.download_files([FileDownloadRequest(path) for path in paths])
    assert [answer.source for answer in answers] == paths
    assert [answer.result for answer in answers] == [b"one", None, EVERY_BYTE]
    assert answers[1].error and not answers[0].error


def test_a_listing_describes_every_entry(sandbox, folder):
    sandbox.fs.upload_file(b"12345", f"{folder}/file.txt")
    sandbox.fs.create_folder(f"{folder}/inner", "750")
    sandbox.fs.set_file_permissions(f"{folder}/file.txt", mode="640")
    entries = {entry.name: entry for entry in sandbox.fs.list_files(folder)}
    assert set(entries) == {"file.txt", "inner"}
    file, inner = entries["file.txt"], entries["inner"]
    assert (file.is_dir, file.size, file.permissions, file.owner, file.group) == (False, 5, "0640", "1000", "1000")
    assert file.mod_time and file.mode == "-rw-r-----"
    assert (inner.is_dir, inner.permissions) == (True, "0750")
    info = sandbox.fs.get_file_info(f"{folder}/file.txt")
    assert (info.name, info.size, info.is_dir) == ("file.txt", 5, False)


def test_text_and_names_are_found_and_text_is_replaced(sandbox, folder):
    sandbox.fs.upload_file(b"one\ntwo wanted\n", f"{folder}/a.txt")
    sandbox.fs.upload_file(b"nothing\n", f"{folder}/b.py")
    (match,) = sandbox.fs.find_files(folder, "wanted")
    assert (match.file, match.line, match.content) == (f"{folder}/a.txt", 2, "two wanted")
    assert sandbox.fs.search_files(folder, "*.py").files == [f"{folder}/b.py"]
    results = sandbox.fs.replace_in_files([f"{folder}/a.txt", f"{folder}/missing"], "wanted", "had")
    assert [(result.file, bool(result.success)) for result in results] == [
        (f"{folder}/a.txt", True),
        (f"{folder}/missing", False),
    ]
    assert sandbox.fs.download_file(f"{folder}/a.txt") == b"one\ntwo had\n"


def test_files_are_moved_and_deleted(sandbox, folder):
    sandbox.fs.upload_file(b"x", f"{folder}/one")
    sandbox.fs.move_files(f"{folder}/one", f"{folder}/two")
    assert sandbox.fs.download_file(f"{folder}/two") == b"x"
    sandbox.fs.delete_file(f"{folder}/two")
    assert sandbox.fs.list_files(folder) == []


def test_a_missing_file_is_an_error(sandbox, folder):
    for call in (
        lambda: sandbox.fs.get_file_info(f"{folder}/missing"),
        lambda: sandbox.fs.download_file(f"{folder}/missing"),
        lambda: sandbox.fs.delete_file(f"{folder}/missing"),
        lambda: sandbox.fs.list_files(f"{folder}/missing"),
    ):
        with pytest.raises(DaytonaError):
            call()
