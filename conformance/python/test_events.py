"""The event socket, as the official client listens to it: polls are made to tell nothing."""

import contextlib
import os
import pathlib
import subprocess
import sys

import pytest
from daytona import Daytona, DaytonaConfig, DaytonaError

PROXY = pathlib.Path(__file__).parents[1] / "late-polls.py"


@contextlib.contextmanager
def late_polls(*options):
    """A client of a server whose polls are useless."""
    command = [sys.executable, PROXY, os.environ["DAYTONA_API_URL"], *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            yield Daytona(DaytonaConfig(api_url=proxy.stdout.readline().strip(), api_key=os.environ["DAYTONA_API_KEY"]))
        finally:
            proxy.stdin.close()


def test_a_start_is_told_by_events_where_polls_tell_nothing(sandbox, daytona):
    sandbox.stop()
    with late_polls() as client:
        client.get(sandbox.id).start(timeout=60)
    assert daytona.get(sandbox.id).state == "started"


def test_without_events_such_a_start_is_not_told(sandbox, daytona):
    sandbox.stop()
    with late_polls("--no-events") as client, pytest.raises(DaytonaError):
        client.get(sandbox.id).start(timeout=4)
    assert daytona.get(sandbox.id).state == "stopped"
