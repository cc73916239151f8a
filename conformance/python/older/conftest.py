"""What every test starts from: an older official client, configured by the environment alone.

One suite serves all releases. What a release does not have is skipped by `since`, and what it does in another way is
said where it is tested.
"""

import contextlib
import os
import time
import uuid
from importlib.metadata import version

import pytest
from daytona import CreateSandboxFromSnapshotParams, Daytona, DaytonaError

for variable in ("DAYTONA_API_URL", "DAYTONA_API_KEY"):
    if variable not in os.environ:
        raise pytest.UsageError(f"{variable} is not set: run the tests by scripts/with-server.sh")

# All releases here are 0.MINOR.
MINOR = int(version("daytona").split(".")[1])


def since(minor):
    """Skips a test for releases that do not have what it tests."""
    return pytest.mark.skipif(MINOR < minor, reason=f"the client has it since 0.{minor}")


def pytest_report_header():
    return f"daytona {version('daytona')}"


@pytest.fixture(scope="session")
def daytona():
    return Daytona()


@pytest.fixture(scope="session")
def create(daytona):
    """Creates sandboxes that are gone after the run."""
    created = []

    def create(**params):
        created.append(daytona.create(CreateSandboxFromSnapshotParams(**params)))
        return created[-1]

    yield create
    for sandbox in created:
        with contextlib.suppress(DaytonaError):
            daytona.delete(sandbox)


@pytest.fixture(scope="session")
def sandbox(create):
    """One for all tests that only work inside: each in names of its own."""
    return create()


@pytest.fixture
def unique():
    """A word that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


def wait_until(condition, what, seconds=60):
    """Waits for something that comes by itself; never longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)
    return value
