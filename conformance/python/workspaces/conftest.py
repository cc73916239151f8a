"""What every test starts from: a client of the time of workspaces, as it was published.

What became of the names of its methods is said here; what a release does not have is skipped by `since`.
"""

import contextlib
import inspect
import os
import time
import uuid
from importlib.metadata import version

import daytona_sdk
import pytest
from daytona_sdk import Daytona, DaytonaConfig

for variable in ("DAYTONA_API_URL", "DAYTONA_API_KEY"):
    if variable not in os.environ:
        raise pytest.UsageError(f"{variable} is not set: run the tests by scripts/with-server.sh")

API = os.environ["DAYTONA_API_URL"]
# All releases here are 0.MINOR.
MINOR = int(version("daytona-sdk").split(".")[1])
Params = daytona_sdk.CreateWorkspaceParams if MINOR < 10 else daytona_sdk.CreateSandboxParams


def since(minor):
    """Skips a test for releases that do not have what it tests."""
    return pytest.mark.skipif(MINOR < minor, reason=f"the client has it since 0.{minor}")


def pytest_report_header():
    return f"daytona-sdk {version('daytona-sdk')} with daytona-api-client {version('daytona-api-client')}"


def find(daytona, workspace):
    return daytona.get_current_workspace(workspace) if MINOR < 10 else daytona.get_current_sandbox(workspace)


def remove(daytona, workspace):
    return daytona.remove(workspace) if MINOR < 16 else daytona.delete(workspace)


def upload(workspace, path, content):
    """The order of the two changed."""
    return workspace.fs.upload_file(*((path, content) if MINOR < 18 else (content, path)))


@pytest.fixture(scope="session")
def daytona():
    # `us` is one of three that the generated clients know.
    takes = inspect.signature(DaytonaConfig).parameters
    address = {"api_url" if "api_url" in takes else "server_url": API}
    return Daytona(DaytonaConfig(api_key=os.environ["DAYTONA_API_KEY"], target="us", **address))


@pytest.fixture(scope="session")
def create(daytona):
    """Creates workspaces that are gone after the run."""
    created = []

    def create(**params):
        created.append(daytona.create(Params(language="python", **params)))
        return created[-1]

    yield create
    for workspace in created:
        with contextlib.suppress(Exception):
            remove(daytona, workspace)


@pytest.fixture(scope="session")
def workspace(create):
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
