"""Git: every operation that the client has, against a real `git http-backend` inside of the sandbox."""

import pathlib

import pytest
from daytona import (
    DaytonaAuthenticationError,
    DaytonaConflictError,
    DaytonaError,
    DaytonaNotFoundError,
    SessionExecuteRequest,
)

from conftest import wait_until

SERVER = pathlib.Path(__file__).parent.parent / "git-server.py"
URL = "http://127.0.0.1:8090/git/a.git"
ADA = {"username": "ada", "password": "pass word"}


@pytest.fixture
def served(sandbox):
    """A sandbox in which the server answers."""
    sandbox.fs.upload_file(SERVER.read_bytes(), "git-server.py")
    sandbox.process.create_session("git")
    request = SessionExecuteRequest(command="exec python3 git-server.py", run_async=True)
    command = sandbox.process.execute_session_command("git", request).cmd_id

    def answers():
        return "ready" in (sandbox.process.get_session_command_logs("git", command).stdout or "")

    wait_until(answers, "the git server")
    return sandbox


def test_a_clone_is_changed_and_pushed(served):
    git = served.git
    git.clone(URL, "a", **ADA)
    status = git.status("a")
    assert (status.current_branch, status.upstream, status.branch_published) == ("main", "origin/main", True)
    assert (status.file_status, status.ahead, status.behind, status.detached) == ([], 0, 0, False)

    served.fs.upload_file(b"x\n", "a/new")
    [file] = git.status("a").file_status
    assert (file.name, file.staging, file.worktree) == ("new", "Untracked", "Untracked")
    git.add("a", ["new"])
    [file] = git.status("a").file_status
    assert (file.staging, file.worktree) == ("Added", "Unmodified")
    commit = git.commit("a", "second", "Ada", "ada@example.com")
    assert len(commit.sha) == 40
    assert git.status("a").ahead == 1
    git.push("a", **ADA)
    assert git.status("a").ahead == 0
    git.create_branch("a", "topic")
    git.push("a", set_upstream=True, **ADA)
    assert git.status("a").upstream == "origin/topic"
    branches = git.branches("a")
    assert (branches.branches, branches.current) == (["main", "topic"], "topic")
    git.checkout_branch("a", "main")
    git.delete_branch("a", "topic")
    git.pull("a", **ADA)

    git.clone(URL, "b", commit_id=commit.sha, **ADA)
    assert git.status("b").detached
    git.clone(URL, "c", branch="topic", depth=1, **ADA)
    assert served.process.exec("git rev-list --count HEAD", cwd="c").result.strip() == "1"


def test_failures_have_their_classes(served):
    git = served.git
    for credentials in ({}, {"username": "ada", "password": "wr0ng-one"}):
        with pytest.raises(DaytonaAuthenticationError) as refused:
            git.clone(URL, "a", **credentials)
        assert "wr0ng" not in str(refused.value)
    with pytest.raises(DaytonaNotFoundError):
        git.clone(URL, "a", branch="nope", **ADA)
    with pytest.raises(DaytonaNotFoundError):
        git.status("a")
    git.clone(URL, "a", **ADA)
    with pytest.raises(DaytonaConflictError):
        git.clone(URL, "a", **ADA)
    with pytest.raises(DaytonaConflictError):
        git.commit("a", "nothing", "Ada", "ada@example.com")
    with pytest.raises(DaytonaNotFoundError):
        git.checkout_branch("a", "nope")
    with pytest.raises(DaytonaConflictError):
        git.create_branch("a", "main")
    with pytest.raises(DaytonaError):
        git.clone("https://127.0.0.1:1/a", "x")
    assert git.status("a").file_status == []


def test_stored_credentials_serve_everything_after(served):
    git = served.git
    git.dangerously_authenticate("ada", "pass word", host="127.0.0.1:8090", protocol="http")
    git.clone(URL, "a")
    git.pull("a")
    assert served.process.exec(f"git clone -q {URL} b").exit_code == 0


def test_local_operations(sandbox):
    git = sandbox.git
    git.init("r", initial_branch="trunk")
    assert git.status("r").current_branch == "trunk"
    assert git.get_config("user.name") is None
    git.configure_user("Ada", "ada@example.com")
    assert git.get_config("user.name") == "Ada"
    git.set_config("core.x", "1", scope="local", path="r")
    assert git.get_config("core.x", scope="local", path="r") == "1"
    for text in (b"one\n", b"two\n"):
        sandbox.fs.upload_file(text, "r/file")
        git.add("r", ["."])
        git.commit("r", "m", "Ada", "ada@example.com")
    git.reset("r", mode="hard", target="HEAD~1")
    assert sandbox.fs.download_file("r/file") == b"one\n"
    sandbox.fs.upload_file(b"three\n", "r/file")
    git.restore("r", ["file"])
    assert sandbox.fs.download_file("r/file") == b"one\n"
    git.remote_add("r", "origin", "https://example.com/a.git")
    assert git.remote_get("r", "origin") == "https://example.com/a.git"
    assert git.remote_get("r", "other") is None
    git.remote_add("r", "origin", "https://example.com/b.git", overwrite=True)
    assert [(remote.name, remote.url) for remote in git.remotes("r").remotes] == [
        ("origin", "https://example.com/b.git")
    ]
