"""Runners, regions, jobs, and what proxies ask: as the administrator, as a runner, and as the proxy of a region."""

import pytest
from conftest import Client, told
from daytona_api_client.exceptions import ApiException

RUNNER = "/runners/{}"
SCHEDULING = {"unschedulable": True}


def refused(status, ask, *arguments, **named):
    with pytest.raises(ApiException) as error:
        ask(*arguments, **named)
    assert error.value.status == status, error.value


def bare(client, operation, runner, body):
    """Bodies that the description lacks are sent past the client."""
    client.asked.add(operation)
    method, path = operation.split(" ", 1)
    return told(method, path.format(runner), body)


@pytest.fixture(scope="module")
def box(client):
    made = client.ask("POST /sandbox", {"public": False})
    yield made.id
    client.ask("DELETE /sandbox/{}", made.id)


def test_the_servers_own_runner(client, ask, box):
    ask("GET /runners")
    found = ask("GET /runners/by-sandbox/{}", box)
    assert found.id and found.region and found.cpu > 0
    ask("GET /runners/by-snapshot-ref", "none")
    if client.has(f"GET {RUNNER}"):
        assert ask(f"GET {RUNNER}", found.id).name == found.name
        assert ask(f"GET {RUNNER}/full", found.id).api_key == ""
        refused(400, ask, f"DELETE {RUNNER}", found.id)
    for operation in ("GET /snapshots/can-cleanup-image", "GET /admin/snapshots/can-cleanup-image"):
        assert not client.has(operation) or ask(operation, "no-such-image") is not False
    if client.has("GET /admin/runners"):
        assert found.id in [runner.id for runner in ask("GET /admin/runners")]
        assert ask("GET /admin/runners/{}", found.id).id == found.id
    for operation in (f"PATCH {RUNNER}/scheduling", "PATCH /admin/runners/{}/scheduling"):
        if client.has(operation):
            # Changed for nobody: others make sandboxes meanwhile.
            bare(client, operation, found.id, {"unschedulable": False})
    if client.has(f"PATCH {RUNNER}/draining"):
        drained = bare(client, f"PATCH {RUNNER}/draining", found.id, {"draining": False})
        assert drained["draining"] is False


def test_a_region_with_a_runner(client, ask, box, unique):
    if not client.has("POST /regions"):
        # A runner as it was registered then is none now.
        size = {"cpu": 1, "memoryGiB": 1, "diskGiB": 1, "gpu": 0, "gpuType": "none", "class": "small"}
        body = {"domain": "a.lab", "apiUrl": "http://a.lab", "proxyUrl": "http://a.lab", "apiKey": "k", "version": "0"}
        refused(400, ask, "POST /runners", {**body, **size, "region": "us"})
        # People are no runners and no proxies.
        refused(403, ask, "GET /sandbox/for-runner")
        refused(403, ask, "PUT /sandbox/{}/state", box, {"state": "started"})
        # This client comes to a proxy's operations without any key.
        refused(401, ask, "GET /preview/{}/public", box)
        refused(401, ask, "GET /preview/{}/validate/{}", box, "x")
        ask("GET /preview/{}/access", box)
        return
    urls = {"proxyUrl": "https://p.lab", "sshGatewayUrl": "ssh://s.lab", "snapshotManagerUrl": "https://i.lab"}
    region = ask("POST /regions", {"name": unique, **urls})
    assert region.proxy_api_key and region.ssh_gateway_api_key and region.snapshot_manager_password
    place = "/regions/{}"
    assert ask(f"GET {place}", region.id).proxy_url == "https://p.lab"
    # What is not said is sent as null by some ages of the client, and taken away.
    ask(f"PATCH {place}", region.id, {**urls, "proxyUrl": "https://q.lab"})
    key = ask(f"POST {place}/regenerate-proxy-api-key", region.id).api_key
    assert key != region.proxy_api_key
    ask(f"POST {place}/regenerate-ssh-gateway-api-key", region.id)
    assert ask(f"POST {place}/regenerate-snapshot-manager-credentials", region.id).password

    made = ask("POST /runners", {"regionId": region.id, "name": "rack-1", "tags": ["ssd"]})
    runner = Client(made.api_key)
    runner.ask("POST /runners/healthcheck", {"appVersion": "1"})
    assert runner.ask("GET /runners/me").state == "ready"
    if client.has("GET /runners/me/snapshots"):
        assert runner.ask("GET /runners/me/snapshots") == []
    assert runner.ask("GET /jobs").total == 0
    assert runner.ask("GET /jobs/poll", 0).jobs == []
    refused(404, runner.ask, "GET /jobs/{}", "none")
    refused(404, runner.ask, "POST /jobs/{}/status", "none", {"status": "COMPLETED"})
    assert runner.ask("GET /sandbox/for-runner") == []
    refused(404, runner.ask, "PUT /sandbox/{}/state", box, {"state": "started"})

    proxy = Client(key)
    assert proxy.ask("GET /runners/{}/full", made.id).region_type == "custom"
    # The sandbox is in another region.
    for tail in ("public", "signing-key", "preview-warning"):
        operation = "GET /preview/{}/" + tail
        if client.has(operation):
            refused(404, proxy.ask, operation, box)
    refused(404, proxy.ask, "GET /preview/{}/validate/{}", box, "x")
    refused(403, proxy.ask, "GET /preview/{}/{}/sandbox-id", "none", 3000)
    assert ask("GET /preview/{}/access", box) is True

    assert bare(client, f"PATCH {RUNNER}/scheduling", made.id, SCHEDULING)["unschedulable"] is True
    ask(f"DELETE {RUNNER}", made.id)
    if client.has("POST /admin/runners"):
        secret = f"the-key-of-{unique}-and-some-more-text"
        body = {"regionId": region.id, "name": "rack-2", "apiKey": secret, "apiVersion": "2"}
        second = ask("POST /admin/runners", body)
        bare(client, "PATCH /admin/runners/{}/scheduling", second.id, SCHEDULING)
        ask("DELETE /admin/runners/{}", second.id)
    ask(f"DELETE {place}", region.id)
