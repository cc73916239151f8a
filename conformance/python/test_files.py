"""Files and folders."""

import threading

import pytest
from daytona import (
    DaytonaBadRequestError,
    DaytonaConflictError,
    DaytonaError,
    DaytonaFileAccessDeniedError,
    DaytonaFileNotFoundError,
    DaytonaForbiddenError,
    DaytonaInvalidFilePathError,
    DaytonaNotFoundError,
    FileDownloadRequest,
    FileUpload,
)

EVERY_BYTE = bytes(range(256)) * 3
NAMES = ["plain.txt", "with space.txt", "ünï/cödé.bin", "beyond/☃ 文件 🦀", "quote\"and\\slash.txt", "per%20cent+plus&;='.txt", "-dash"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_comes_back_as_it_was_sent(sandbox, name):
    sandbox.fs.upload_file(EVERY_BYTE, name)
    assert sandbox.fs.download_file(name) == EVERY_BYTE
    assert sandbox.fs.download_file(f"{sandbox.get_work_dir()}/{name}") == EVERY_BYTE
    assert b"".join(sandbox.fs.download_file_stream(name)) == EVERY_BYTE


def test_an_empty_file_comes_back_empty(sandbox):
    sandbox.fs.upload_file(b"", "empty")
    assert sandbox.fs.download_file("empty") == b""
    assert sandbox.fs.get_file_info("empty").size == 0
    # The client takes a stream without bytes for a missing file.
    with pytest.raises(DaytonaError, match="No file data"):
        b"".join(sandbox.fs.download_file_stream("empty"))


def test_an_upload_replaces_and_makes_parents(sandbox):
    sandbox.fs.upload_file(b"a longer first version", "new/deep/file")
    sandbox.fs.upload_file(b"second", "new/deep/file")
    assert sandbox.fs.download_file("new/deep/file") == b"second"


def test_files_go_from_and_to_local_paths(sandbox, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(EVERY_BYTE)
    sandbox.fs.upload_file(str(source), "copy")
    sandbox.fs.download_file("copy", str(target))
    assert target.read_bytes() == EVERY_BYTE


def test_many_files_go_in_one_call(sandbox, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(b"from a path")
    sandbox.fs.upload_files(
        [FileUpload(b"one", "many/1"), FileUpload(str(local), "/tmp/2"), FileUpload(EVERY_BYTE, "many/ä")]
    )
    target = tmp_path / "target"
    answers = sandbox.fs.download_files(
        [
            FileDownloadRequest("many/1"),
            FileDownloadRequest("missing"),
            FileDownloadRequest("/tmp/2", str(target)),
            FileDownloadRequest("many/ä"),
        ]
    )
    assert [answer.source for answer in answers] == ["many/1", "missing", "/tmp/2", "many/ä"]
    assert (answers[0].result, answers[3].result) == (b"one", EVERY_BYTE)
    assert target.read_bytes() == b"from a path"
    missing = answers[1]
    assert missing.result is None and missing.error
    assert (missing.error_details.status_code, missing.error_details.code) == (404, "FILE_NOT_FOUND")


def test_a_stream_of_unknown_length_is_uploaded(sandbox, tmp_path):
    seen = []
    source = tmp_path / "source"
    source.write_bytes(EVERY_BYTE * 1000)
    with source.open("rb") as stream:
        sandbox.fs.upload_file_stream(stream, "streamed", on_progress=lambda p: seen.append(p.bytes_sent))
    assert seen[-1] == len(EVERY_BYTE) * 1000
    assert sandbox.fs.download_file("streamed") == EVERY_BYTE * 1000


def test_a_download_tells_its_progress_and_can_be_broken_off(sandbox):
    sandbox.fs.upload_file(b"x" * 5_000_000, "big")
    seen, cancel = [], threading.Event()
    for _ in sandbox.fs.download_file_stream("big", on_progress=seen.append):
        pass
    assert (seen[-1].bytes_received, seen[-1].total_bytes) == (5_000_000, 5_000_000)
    with pytest.raises(DaytonaError, match="cancelled"):
        for _ in sandbox.fs.download_file_stream("big", cancel_event=cancel):
            cancel.set()
    assert sandbox.fs.download_file("big") == b"x" * 5_000_000, "the sandbox goes on"


def test_a_listing_describes_every_entry(sandbox):
    sandbox.fs.upload_file(b"12345", "list/file.txt")
    sandbox.fs.create_folder("list/folder", "750")
    sandbox.process.exec("chmod 640 list/file.txt; ln -s file.txt list/link; touch list/.hidden")
    entries = {entry.name: entry for entry in sandbox.fs.list_files("list")}
    assert set(entries) == {"file.txt", "folder", "link", ".hidden"}
    file, folder = entries["file.txt"], entries["folder"]
    assert (file.is_dir, file.size, file.permissions, file.owner, file.group) == (False, 5, "0640", "1000", "1000")
    assert (folder.is_dir, folder.permissions) == (True, "0750")
    assert file.mod_time and file.mode == "-rw-r-----"


def test_a_listing_can_go_deeper(sandbox):
    sandbox.fs.upload_file(b"", "tree/a/b/c")
    assert [entry.name for entry in sandbox.fs.list_files("tree")] == ["a"]
    assert {entry.path for entry in sandbox.fs.list_files("tree", depth=2)} == {"tree/a", "tree/a/b"}


def test_info_is_about_one_file(sandbox):
    sandbox.fs.upload_file(b"12345", "file")
    info = sandbox.fs.get_file_info("file")
    assert (info.name, info.is_dir, info.size) == ("file", False, 5)
    assert sandbox.fs.get_file_info("/tmp").is_dir is True


@pytest.mark.parametrize("mode", ["700", "755", "1777"])
def test_a_folder_is_made_with_its_mode(sandbox, mode):
    sandbox.fs.create_folder("folder/inner", mode)
    assert sandbox.process.exec("stat -c '%a %F' folder/inner").result == f"{mode} directory\n"
    sandbox.fs.create_folder("folder/inner", mode)


def test_files_and_folders_are_moved(sandbox):
    sandbox.fs.upload_file(b"x", "from/file")
    sandbox.fs.move_files("from/file", "from/other")
    sandbox.fs.move_files("from", "to")
    assert sandbox.fs.download_file("to/other") == b"x"
    with pytest.raises(DaytonaFileNotFoundError):
        sandbox.fs.get_file_info("from")


def test_files_and_folders_are_deleted(sandbox):
    sandbox.fs.upload_file(b"x", "folder/file")
    sandbox.fs.delete_file("folder/file")
    with pytest.raises(DaytonaBadRequestError):
        sandbox.fs.delete_file("folder")
    sandbox.fs.upload_file(b"x", "folder/file")
    sandbox.fs.delete_file("folder", recursive=True)
    with pytest.raises(DaytonaFileNotFoundError):
        sandbox.fs.get_file_info("folder")


def test_a_missing_file_has_its_own_error(sandbox):
    for call in (
        lambda: sandbox.fs.get_file_info("missing"),
        lambda: sandbox.fs.download_file("missing"),
        lambda: b"".join(sandbox.fs.download_file_stream("missing")),
        lambda: sandbox.fs.delete_file("missing"),
        lambda: sandbox.fs.move_files("missing", "there"),
        lambda: sandbox.fs.list_files("missing"),
    ):
        with pytest.raises(DaytonaFileNotFoundError) as raised:
            call()
        assert isinstance(raised.value, DaytonaNotFoundError)
        assert (raised.value.status_code, raised.value.source) == (404, "DAYTONA_DAEMON")


def test_a_file_of_somebody_else_has_its_own_error(sandbox):
    sandbox.process.exec("sudo sh -c 'mkdir /secret; echo x > /secret/file; chmod 700 /secret'")
    with pytest.raises(DaytonaFileAccessDeniedError) as raised:
        sandbox.fs.download_file("/secret/file")
    assert raised.value.status_code == 403
    assert isinstance(raised.value, DaytonaForbiddenError)
    # The client has one class for all failed uploads.
    with pytest.raises(DaytonaError, match="/secret/other: permission denied") as raised:
        sandbox.fs.upload_file(b"x", "/secret/other")
    assert raised.value.status_code == 400


def test_a_folder_is_no_file(sandbox):
    sandbox.fs.create_folder("folder", "755")
    with pytest.raises(DaytonaInvalidFilePathError):
        sandbox.fs.download_file("folder")


def test_a_move_onto_something_is_refused(sandbox):
    sandbox.fs.upload_files([FileUpload(b"1", "one"), FileUpload(b"2", "two")])
    with pytest.raises(DaytonaConflictError):
        sandbox.fs.move_files("one", "two")
    assert (sandbox.fs.download_file("one"), sandbox.fs.download_file("two")) == (b"1", b"2")


def test_a_bad_mode_is_refused(sandbox):
    with pytest.raises(DaytonaBadRequestError):
        sandbox.fs.create_folder("folder", "rwx")
