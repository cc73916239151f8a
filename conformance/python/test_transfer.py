"""A large file there and back, with bounded memory at every station."""

import hashlib
import os
import resource
from pathlib import Path

BYTES = 100_000_000
# What any of the three processes may grow by, while twenty times as much passes through it.
GROWTH_MAX_KIB = 32 * 1024


def peak_kib(status):
    """The most memory that a process ever had, from its `/proc/PID/status`."""
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def test_a_hundred_megabytes_pass_with_bounded_memory(sandbox, tmp_path):
    server = Path("/proc", os.environ["ALCOVE_SERVER_PID"], "status")
    assert "alcove" in server.read_text().splitlines()[0]
    # Warms all three up, and shows that the figure is that of the process that works.
    sandbox.fs.upload_file(b"x" * 1_000_000, "warm")
    assert len(sandbox.fs.download_file("warm")) == 1_000_000

    def peaks():
        agent = sandbox.process.exec("cat /proc/1/status").result
        assert "agent" in agent.splitlines()[0]
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"server": peak_kib(server.read_text()), "agent": peak_kib(agent), "client": own}

    # No two blocks are alike, so that one lost or swapped is noticed.
    block = os.urandom(1_000_000 - 8)
    source, digest = tmp_path / "source", hashlib.sha256()
    with source.open("wb") as file:
        for number in range(BYTES // 1_000_000):
            part = number.to_bytes(8, "big") + block
            digest.update(part)
            file.write(part)

    before = peaks()
    with source.open("rb") as file:
        sandbox.fs.upload_file_stream(file, "large")
    assert sandbox.process.exec("sha256sum < large").result.split()[0] == digest.hexdigest()
    back = hashlib.sha256()
    for chunk in sandbox.fs.download_file_stream("large"):
        back.update(chunk)
    assert back.hexdigest() == digest.hexdigest()
    growth = {name: after - before[name] for name, after in peaks().items()}
    assert max(growth.values()) < GROWTH_MAX_KIB, growth
