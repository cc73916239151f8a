"""`vercel-sandbox`: Vercel's own client in Python, which has a setting for the server."""

import os
import subprocess
import uuid

import pytest

from vercel.sandbox import SandboxApiError, SandboxCredentials
from vercel.sandbox.sync import SandboxServiceOptions, SyncSandboxClient


@pytest.fixture
def client():
    # Its clients of Daytona are told the same address, with `/api`.
    options = SandboxServiceOptions(base_url=os.environ["DAYTONA_API_URL"], credentials_factory=credentials)
    client = SyncSandboxClient.create(options=options)
    yield client
    client.close()


def credentials():
    return SandboxCredentials(token=os.environ["DAYTONA_API_KEY"], team_id="team", project_id="project")


def unique(word):
    return f"{word}-{uuid.uuid4().hex[:8]}"


def test_programs_read_what_they_are_sent(client):
    with client.create_sandbox(name=unique("input")) as sandbox:
        plain = sandbox.run_process("cat", capture_output=True)
        assert (plain.returncode, plain.stdout) == (0, "")
        sorted_ = sandbox.run_process("sort", input="b\na\n", capture_output=True)
        assert sorted_.stdout == "a\nb\n"
        long = "0123456789abcdef" * (1 << 17)
        counted = sandbox.run_process("wc", ["-c"], input=long, capture_output=True)
        assert int(counted.stdout) == len(long)
        cat = sandbox.create_process("cat", stdin=subprocess.PIPE)
        cat.stdin.write(b"ping\n")
        assert cat.stdout.readline() == "ping\n"
        cat.stdin.write(b"pong\n")
        out, _ = cat.communicate()
        assert (cat.returncode, out) == (0, "pong\n")


def test_a_drive_is_forked_while_it_is_written_to(client):
    drive, is_new = client.get_or_create_drive(name=unique("drive"))
    assert is_new
    assert client.get_or_create_drive(name=drive.name)[1] is False
    with client.create_sandbox(name=unique("writer"), mounts={"/data": drive}) as writer:
        writer.run_process("sh", ["-c", "echo before > /data/file"], check=True)
        fork = drive.fork(name=unique("fork"))
        assert fork.parent_drive_id == drive.id
        writer.run_process("sh", ["-c", "echo after > /data/file"], check=True)
        with client.create_sandbox(name=unique("reader"), mounts={"/data": fork}) as reader:
            read = reader.run_process("cat", ["/data/file"], capture_output=True)
            assert read.stdout == "before\n"
        with pytest.raises(SandboxApiError) as taken:
            drive.fork(name=fork.name)
        assert taken.value.status_code == 409
