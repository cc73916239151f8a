"""Run last: whether every operation was asked that the client and the server both have."""

import pytest
from conftest import plain, told

TOOLBOX = "/toolbox/{}/toolbox"

# What is served and asked for nowhere here, with the reason.
LEFT_OUT = {
    # Are multipart with names of parts that the description does not have: the SDKs write them by hand.
    f"POST {TOOLBOX}/files/bulk-upload",
}


def test_no_shared_operation_was_left_out(client, request):
    if request.config.option.keyword or any("::" in argument for argument in request.config.args):
        pytest.skip("only some tests run")
    described = told("GET", "/openapi.json")["paths"]
    served = {
        plain(method.upper(), path.removeprefix("/api")) for path, methods in described.items() for method in methods
    }
    # The toolbox through the API is passed on to the sandbox, and described by it.
    served |= {name for name in client.operations if TOOLBOX in name and "/computeruse/" not in name}
    shared = served & set(client.operations)
    assert len(shared) > 60, "the descriptions are read"
    assert shared - client.asked - LEFT_OUT == set()
