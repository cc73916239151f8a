"""API keys, made and ended with the official API client."""

import datetime
import json
import os
import threading

import pytest
import requests
from daytona_api_client import (
    ApiClient,
    ApiException,
    ApiKeysApi,
    Configuration,
    CreateApiKey,
    SandboxApi,
)

API_URL = os.environ["DAYTONA_API_URL"]
API_KEY = os.environ["DAYTONA_API_KEY"]


def client(key=API_KEY):
    return ApiClient(Configuration(host=API_URL, access_token=key))


def test_a_key_is_made_used_listed_and_ended():
    keys = ApiKeysApi(client())
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    made = keys.create_api_key(
        CreateApiKey(name="conformance", permissions=["write:sandboxes"], expires_at=end)
    )
    try:
        assert made.value.startswith("dtn_")
        own = ApiKeysApi(client(made.value)).get_current_api_key()
        assert (own.name, own.permissions) == ("conformance", ["write:sandboxes"])
        assert made.value not in json.dumps([k.to_dict() for k in keys.list_api_keys()], default=str)
        assert keys.get_api_key("conformance").last_used_at is not None
        with pytest.raises(ApiException) as refused:
            keys.create_api_key(CreateApiKey(name="conformance", permissions=[]))
        assert refused.value.status == 409
        with pytest.raises(ApiException) as refused:
            ApiKeysApi(client(made.value)).list_api_keys()
        assert refused.value.status == 403
    finally:
        keys.delete_api_key("conformance")
    with pytest.raises(ApiException) as refused:
        SandboxApi(client(made.value)).list_sandboxes()
    assert refused.value.status == 401


def test_the_end_of_a_key_cuts_the_streams_that_came_with_it():
    keys = ApiKeysApi(client())
    keys.create_api_key(CreateApiKey(name="other", permissions=[]))
    made = keys.create_api_key(CreateApiKey(name="listener", permissions=[]))
    stream = requests.get(
        f"{API_URL}/events",
        headers={"Authorization": f"Bearer {made.value}"},
        stream=True,
        timeout=30,
    )
    assert stream.status_code == 200
    ended = threading.Event()

    def read():
        for _ in stream.iter_content(1024):
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    # The control: the end of another key does not end it.
    keys.delete_api_key("other")
    keys.get_api_key("listener")
    assert not ended.is_set()
    keys.delete_api_key("listener")
    assert ended.wait(10)
