"""What every test starts from: the official client, configured by the environment alone, and a fresh sandbox."""

import contextlib
import os
import time
import uuid

import pytest
from daytona import CreateSandboxFromSnapshotParams, Daytona, DaytonaError, DaytonaNotFoundError

for variable in ("DAYTONA_API_URL", "DAYTONA_API_KEY"):
    if variable not in os.environ:
        raise pytest.UsageError(f"{variable} is not set: run the tests by scripts/with-server.sh")


@pytest.fixture(scope="session")
def daytona():
    return Daytona()


@pytest.fixture
def create(daytona):
    """Creates sandboxes that are gone after the test."""
    created = []

    def create(**params):
        created.append(daytona.create(CreateSandboxFromSnapshotParams(**params)))
        return created[-1]

    yield create
    for sandbox in created:
        with contextlib.suppress(DaytonaNotFoundError):
            daytona.delete(sandbox)


@pytest.fixture
def sandbox(create):
    return create()


@pytest.fixture
def unique():
    """A word that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def volume(daytona, unique):
    """Asked for before the sandboxes that mount it, so that it goes after them."""
    volume = daytona.volume.get(unique, create=True)
    yield volume
    with contextlib.suppress(DaytonaError):
        daytona.volume.delete(volume)


def wait_until(condition, what, seconds=60):
    """Waits for something that comes by itself; never longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)
    return value
