"""A generated client as it is: no SDK around it, no header that tells its age but the user agent.

Its operations are read out of its own classes, by method and path, since the names of the methods changed over the years.
"""

import importlib
import inspect
import json
import os
import pkgutil
import re
import time
import typing
import urllib.request
import uuid
from importlib.metadata import version

import daytona_api_client
import daytona_api_client.api
import pytest

for variable in ("DAYTONA_API_URL", "DAYTONA_API_KEY", "CONFORMANCE_IMAGE"):
    if variable not in os.environ:
        raise pytest.UsageError(f"{variable} is not set: run the tests by conformance/run.sh")

# Declares events as operations without a type; nobody can import it.
BROKEN = {"default_api"}


def pytest_report_header():
    return f"daytona-api-client {version('daytona-api-client')}"


def plain(method, path):
    """An operation by its place: parameters of paths have had several names."""
    return f"{method} " + re.sub(r"{\w+}", "{}", path)


# Answers with a body once, with none now; a client of then reads nothing, and no SDK asks.
WITHOUT_BODY = {"PATCH /organizations/{}/quota"}


class Operation:
    def __init__(self, group, name):
        source = inspect.getsource(getattr(group, f"_{name}_serialize"))
        self.method = re.search(r"method='(\w+)'", source)[1]
        self.path = re.search(r"resource_path='([^']+)'", source)[1]
        declared = inspect.getsource(getattr(group, name))
        # Status and type, as the client reads them.
        types = re.search(r"_response_types_map: \S+ \S+ = {(.*?)}", declared, re.DOTALL)[1]
        self.types = dict(re.findall(r"'(\d+)': \"?([^\",]+)\"?,", types))
        self.group, self.name = group, f"{name}_with_http_info"
        # Without `self`.
        self.parameters = list(inspect.signature(getattr(group, self.name)).parameters.values())[1:]

    def read(self, arguments):
        """Bodies are given as JSON; the client wants its own types."""
        for parameter, value in zip(self.parameters, arguments):
            kind = typing.get_args(parameter.annotation)[:1] or (parameter.annotation,)
            yield kind[0].from_dict(value) if isinstance(value, dict) and hasattr(kind[0], "from_dict") else value


def operations():
    for module in pkgutil.iter_modules(daytona_api_client.api.__path__):
        if module.name in BROKEN:
            continue
        module = importlib.import_module(f"daytona_api_client.api.{module.name}")
        for name, group in inspect.getmembers(module, inspect.isclass):
            if group.__module__ != module.__name__:
                continue
            for name in vars(group):
                if not name.startswith("_") and hasattr(group, f"_{name}_serialize"):
                    operation = Operation(group, name)
                    yield plain(operation.method, operation.path), operation


# Read while tests are collected: it takes seconds, which are not those of a test.
OPERATIONS = dict(operations())


class Client:
    asked = set()

    def __init__(self, key=os.environ["DAYTONA_API_KEY"]):
        settings = daytona_api_client.Configuration(host=os.environ["DAYTONA_API_URL"], access_token=key)
        self.connection = daytona_api_client.ApiClient(settings)
        self.key = key
        self.operations = OPERATIONS

    def has(self, operation):
        return operation in self.operations

    def ask(self, operation, *arguments, **named):
        """What the client makes of the answer; nothing where it does not have the operation.

        A status that the client does not expect is taken for an empty answer by it, so it must be one that it expects.
        """
        found = self.operations.get(operation)
        if found is None:
            return None
        self.asked.add(operation)
        answer = getattr(found.group(self.connection), found.name)(*found.read(arguments), **named)
        kind = found.types.get(str(answer.status_code))
        if operation not in WITHOUT_BODY and any(kind != "None" for status, kind in found.types.items() if status < "300"):
            assert kind is not None, f"{operation} answers {answer.status_code}, the client reads {found.types}"
            assert answer.data is not None, f"{operation}: the client reads nothing"
        return answer.data


@pytest.fixture(scope="session")
def client():
    return Client()


@pytest.fixture(scope="session")
def ask(client):
    return client.ask


def told(method, path, body=None, key=os.environ["DAYTONA_API_KEY"]):
    """Asks as the newest, beside the client."""
    request = urllib.request.Request(
        os.environ["DAYTONA_API_URL"] + path, body and json.dumps(body).encode(), method=method
    )
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    request.add_header("X-Daytona-SDK-Version", "dev")
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


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
