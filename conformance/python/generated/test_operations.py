"""Every operation that a generated client shares with the server is asked once at least, and its answer is read.

Tests ask for all that any release has: what a release does not have is left out by `ask`, which then gives None.
"""

import contextlib
import json
import os
import urllib.error
from datetime import UTC, datetime, timedelta

import pytest
from conftest import told, wait_until
from daytona_api_client.exceptions import ApiException

IMAGE = os.environ["CONFORMANCE_IMAGE"]
SANDBOX = "/sandbox/{}"
TOOLBOX = "/toolbox/{}/toolbox"


@pytest.fixture(scope="module")
def sandbox(client):
    """One for all tests that only look or set."""
    made = client.ask("POST /sandbox", {"labels": {"suite": "generated"}, "public": False})
    yield made.id
    client.ask(f"DELETE {SANDBOX}", made.id)


def allowed(ask, *arguments, **named):
    """For what the host may not be able to do: then the reason is told."""
    try:
        return ask(*arguments, **named)
    except ApiException as error:
        assert error.status in (400, 403, 409, 422), error
        assert json.loads(error.body)["message"], error
        return None


def test_what_a_client_reads_first(ask):
    assert ask("GET /config").proxy_template_url
    ask("GET /health")
    ask("GET /health/ready")
    user = ask("GET /users/me")
    assert user.id and user.name
    [organization] = ask("GET /organizations")
    assert ask("GET /organizations/{}", organization.id).name == organization.name
    assert ask("GET /organizations/{}/users", organization.id)[0].user_id == user.id
    ask("GET /organizations/{}/usage", organization.id)
    assert ask("GET /object-storage/push-access").bucket
    for region in ask("GET /shared-regions") or []:
        assert ask("GET /regions/{}", region.id).name == region.name
    ask("GET /regions")
    ask("GET /sandbox/regions")


def test_whose_a_sandbox_is(client, ask, sandbox):
    [organization] = ask("GET /organizations")
    for operation in ("GET /organizations/by-sandbox-id/{}", f"GET {SANDBOX}/organization"):
        if client.has(operation):
            assert ask(operation, sandbox).id == organization.id


def test_what_an_organization_says_of_itself(client, ask):
    [organization] = ask("GET /organizations")
    if client.has("PUT /organizations/{}/otel-config"):
        ask("PUT /organizations/{}/otel-config", organization.id, {"endpoint": "https://otlp.example", "headers": {"k": "v"}})
        try:
            kept = ask("GET /organizations/{}/otel-config", organization.id)
            assert kept.endpoint == "https://otlp.example" and kept.headers == {"k": "******"}
        finally:
            ask("DELETE /organizations/{}/otel-config", organization.id)
    # These are for a collector, which comes with a credential of its own.
    allowed(ask, "GET /organizations/otel-config/by-sandbox-auth-token/{}", "none")
    allowed(ask, "GET /organizations/sandbox-identity/by-sandbox-auth-token/{}", "none")
    ask("PUT /organizations/{}/experimental-config", organization.id, {"a": 1})
    ask("PUT /organizations/{}/experimental-config", organization.id, {})
    ask("PATCH /organizations/{}/default-queue-timeout", organization.id, {"defaultQueueTimeout": None})
    capacity = ask("GET /organizations/{}/gpu-capacity", organization.id)
    assert capacity is None or capacity.capacity == []


def test_keys_of_the_api(ask, unique):
    made = ask("POST /api-keys", {"name": unique, "permissions": ["write:sandboxes", "delete:sandboxes"]})
    assert made.value
    assert {"write:sandboxes", "delete:sandboxes"} == set(ask("GET /api-keys/{}", unique).permissions)
    assert unique in [key.name for key in ask("GET /api-keys")]
    # The operator's own key has every permission there is, those of later years as well.
    ask("GET /api-keys/current")
    ask("DELETE /api-keys/{}", unique)
    ask("POST /api-keys", {"name": unique, "permissions": []})
    ask("DELETE /api-keys/{}/{}", ask("GET /users/me").id, unique)
    assert unique not in [key.name for key in ask("GET /api-keys")]


def test_registries(ask, unique):
    body = {
        "name": unique, "url": f"https://{unique}.example", "username": "u", "password": "p", "project": "p",
        "registryType": "organization",
    }  # fmt: skip
    made = ask("POST /docker-registry", body)
    try:
        assert ask("GET /docker-registry/{}", made.id).username == "u"
        changed = ask("PATCH /docker-registry/{}", made.id, {"name": f"{unique}-2", "url": body["url"], "username": "v"})
        assert changed.name == f"{unique}-2"
        assert made.id in [registry.id for registry in ask("GET /docker-registry")]
        ask("POST /docker-registry/{}/set-default", made.id)
        ask("POST /admin/docker-registry/{}/set-default", made.id)
        assert ask("GET /docker-registry/registry-push-access").registry_url
    finally:
        ask("DELETE /docker-registry/{}", made.id)


def test_secrets(client, ask, unique):
    if not client.has("POST /secret"):
        return
    name = unique.replace("-", "_")
    made = ask("POST /secret", {"name": f"s{name}", "value": "hush hush", "hosts": ["*.example.com"]})
    try:
        assert made.placeholder and made.hosts == ["*.example.com"]
        assert ask("GET /secret/{}", made.id).name == made.name
        assert ask("PATCH /secret/{}", made.id, {"value": "hush again", "description": "new"}).description == "new"
        assert made.id in [secret.id for secret in ask("GET /secret")]
        page = ask("GET /secret/paginated", name=made.name, limit=1)
        assert (page.total, page.items[0].id) == (1, made.id)
    finally:
        ask("DELETE /secret/{}", made.id)


def test_volumes(ask, unique):
    made = ask("POST /volumes", {"name": unique})
    assert made.name == unique
    found = wait_until(
        lambda: (found := ask("GET /volumes/by-name/{}", unique)).state == "ready" and found, "the volume"
    )
    assert found.id == made.id
    assert ask("GET /volumes/{}", made.id).name == unique
    assert unique in [volume.name for volume in ask("GET /volumes")]
    ask("DELETE /volumes/{}", made.id)
    ask("GET /volumes", include_deleted=True)


def test_snapshots(ask, unique):
    made = ask("POST /snapshots", {"name": unique, "imageName": IMAGE})
    assert made.name == unique

    def is_active():
        found = ask("GET /snapshots/{}", made.id)
        assert found.state != "error", found.error_reason
        return found.state == "active"

    wait_until(is_active, "the snapshot")
    listed = ask("GET /snapshots", limit=100)
    assert {"default", unique} <= {snapshot.name for snapshot in listed.items}
    # It was not built, so there may be no log.
    with contextlib.suppress(ApiException):
        ask("GET /snapshots/{}/build-logs", made.id)
    with contextlib.suppress(ApiException):
        ask("GET /snapshots/{}/build-logs-url", made.id)
    for operation in ("PATCH /snapshots/{}/general", "PATCH /admin/snapshots/{}/general"):
        changed = ask(operation, made.id, {"general": True})
        assert changed is None or changed.general
        ask(operation, made.id, {"general": False})
    ask("POST /snapshots/{}/deactivate", made.id)
    assert ask("GET /snapshots/{}", made.id).state == "inactive"
    # Not within ten minutes.
    allowed(ask, "POST /snapshots/{}/activate", made.id)
    ask("DELETE /snapshots/{}", made.id)


def test_a_sandbox_is_found_and_set(client, ask, sandbox):
    assert ask(f"GET {SANDBOX}", sandbox).state == "started"
    listed = ask("GET /sandbox")
    listed = listed if isinstance(listed, list) else listed.items
    assert sandbox in [item.id for item in listed]
    if client.has("GET /sandbox/paginated"):
        assert sandbox in [item.id for item in ask("GET /sandbox/paginated", limit=100.0).items]
    assert ask(f"PUT {SANDBOX}/labels", sandbox, {"labels": {"a": "b"}}).labels == {"a": "b"}
    for setting in ("autostop", "autoarchive", "autodelete"):
        ask(f"POST {SANDBOX}/{setting}/{{}}", sandbox, 60)
    ask(f"POST {SANDBOX}/autostop/{{}}", sandbox, 0)
    allowed(ask, f"POST {SANDBOX}/autopause/{{}}", sandbox, 0)
    ask(f"POST {SANDBOX}/autodelete/{{}}", sandbox, -1)
    ask(f"POST {SANDBOX}/ttl/{{}}", sandbox, 60)
    for value in (True, False):
        ask(f"POST {SANDBOX}/public/{{}}", sandbox, value)
    ask(f"POST {SANDBOX}/network-settings", sandbox, {"networkBlockAll": False})
    ask(f"PUT {SANDBOX}/secrets", sandbox, {"secrets": []})
    ask(f"GET {SANDBOX}/secrets", sandbox)
    ask(f"POST {SANDBOX}/last-activity", sandbox)
    found = ask(f"GET {SANDBOX}", sandbox)
    assert (found.labels, found.auto_stop_interval, found.public) == ({"a": "b"}, 0, False)


def test_what_is_measured_and_told_of_a_sandbox(client, ask, sandbox):
    now = datetime.now(UTC)
    if client.has(f"GET {SANDBOX}/region-quota"):
        assert ask(f"GET {SANDBOX}/region-quota", sandbox).region_id
    if not client.has(f"GET {SANDBOX}/telemetry/metrics"):
        return
    ends = [now - timedelta(hours=1), now + timedelta(hours=1)]
    metrics = ask(f"GET {SANDBOX}/telemetry/metrics", sandbox, *ends)
    assert "daytona.sandbox.cpu.utilization" in [one.metric_name for one in metrics.series]

    def logs():
        return [log.body for log in ask(f"GET {SANDBOX}/telemetry/logs", sandbox, *ends).items]

    def traces():
        return ask(f"GET {SANDBOX}/telemetry/traces", sandbox, *ends).items

    # What happens is written a moment later.
    wait_until(lambda: "started" in logs(), "the log of the start")
    # A request to the toolbox is a span.
    told("GET", f"/toolbox/{sandbox}/toolbox/work-dir")
    wait_until(lambda: "GET /work-dir" in [trace.root_span_name for trace in traces()], "the span")
    for trace in traces():
        spans = ask(f"GET {SANDBOX}/telemetry/traces/{{}}", sandbox, trace.trace_id)
        assert [span.trace_id for span in spans] == [trace.trace_id] * trace.span_count


def test_ways_into_a_sandbox(ask, sandbox):
    place = ask(f"GET {SANDBOX}/ports/{{}}/preview-url", sandbox, 3000)
    assert place.url and place.token
    signed = ask(f"GET {SANDBOX}/ports/{{}}/signed-preview-url", sandbox, 3000)
    if signed:
        ask(f"POST {SANDBOX}/ports/{{}}/signed-preview-url/{{}}/expire", sandbox, 3000, signed.token)
    ask(f"GET {SANDBOX}/toolbox-proxy-url", sandbox)
    key = ask(f"GET {SANDBOX}/signing-key", sandbox)
    assert key is None or ask(f"POST {SANDBOX}/signing-key/rotate", sandbox) != key
    access = ask(f"POST {SANDBOX}/ssh-access", sandbox, expires_in_minutes=10)
    assert ask("GET /sandbox/ssh-access/validate", access.token).valid
    ask(f"DELETE {SANDBOX}/ssh-access", sandbox, token=access.token)
    # It was made from a snapshot: there is nothing that was built.
    for logs in ("build-logs", "build-logs-url"):
        with contextlib.suppress(ApiException):
            ask(f"GET {SANDBOX}/{logs}", sandbox)


def test_a_sandbox_stops_and_goes_on(client, ask, unique):
    box = ask("POST /sandbox", {"env": {"A": "1"}, "autoStopInterval": 0}).id
    children = []
    try:
        allowed(ask, f"POST {SANDBOX}/backup", box)
        wait_until(lambda: told("GET", f"/sandbox/{box}").get("backupState") != "InProgress", "the backup")
        allowed(ask, f"POST {SANDBOX}/resize", box, {"cpu": 2})
        wait_until(lambda: told("GET", f"/sandbox/{box}")["state"] == "started", "the new size")
        allowed(ask, f"POST {SANDBOX}/snapshot", box, {"name": unique})
        wait_until(lambda: told("GET", f"/sandbox/{box}")["state"] == "started", "the snapshot of the sandbox")
        if child := allowed(ask, f"POST {SANDBOX}/fork", box, {"name": unique}):
            children.append(child.id)
            assert [found.id for found in ask(f"GET {SANDBOX}/forks", box)] == [child.id]
            assert ask(f"GET {SANDBOX}/parent", child.id).id == box
            assert [found.id for found in ask(f"GET {SANDBOX}/ancestors", child.id)] == [box]
        with contextlib.suppress(ApiException):
            ask(f"POST {SANDBOX}/recover", box)
        allowed(ask, "POST /admin/sandbox/{}/recover", box)
        ask(f"POST {SANDBOX}/stop", box)
        wait_until(lambda: ask(f"GET {SANDBOX}", box).state == "stopped", "the stop")
        assert ask(f"POST {SANDBOX}/start", box).state in ("starting", "started")
        wait_until(lambda: ask(f"GET {SANDBOX}", box).state == "started", "the start")
        allowed(ask, f"POST {SANDBOX}/pause", box)
        ask(f"POST {SANDBOX}/stop", box)
        wait_until(lambda: ask(f"GET {SANDBOX}", box).state == "stopped", "the second stop")
        allowed(ask, f"POST {SANDBOX}/archive", box)
    finally:
        for one in [*children, box]:
            ask(f"DELETE {SANDBOX}", one)
        with contextlib.suppress(urllib.error.HTTPError):
            told("DELETE", f"/snapshots/{unique}")


def test_states_of_later_years_are_read(client, ask, unique):
    """A paused sandbox, in a list and alone: clients of that age fail on a word that they do not know."""
    box = told("POST", "/sandbox", {"name": unique})["id"]
    try:
        try:
            told("POST", f"/sandbox/{box}/pause")
        except urllib.error.HTTPError as error:
            pytest.skip(f"this host cannot pause: {error.read()}")
        wait_until(lambda: told("GET", f"/sandbox/{box}")["state"] == "paused", "the pause")
        state = ask(f"GET {SANDBOX}", box).state
        assert state in ("paused", "stopped"), state
        listed = ask("GET /sandbox")
        listed = listed if isinstance(listed, list) else listed.items
        assert box in [item.id for item in listed]
        if client.has("GET /sandbox/paginated"):
            ask("GET /sandbox/paginated")
    finally:
        told("DELETE", f"/sandbox/{box}")


def test_workspaces(client, ask, unique):
    if not client.has("POST /workspace"):
        return
    box = ask("POST /workspace", {"labels": {"mine": unique}}).id
    place = "/workspace/{}"
    try:
        assert ask(f"GET {place}", box).state == "started"
        assert box in [found.id for found in ask("GET /workspace", labels=json.dumps({"mine": unique}))]
        assert ask(f"PUT {place}/labels", box, {"labels": {"a": "b"}}).labels == {"a": "b"}
        ask(f"POST {place}/autostop/{{}}", box, 60)
        ask(f"POST {place}/autoarchive/{{}}", box, 60)
        ask(f"POST {place}/public/{{}}", box, True)
        assert ask(f"GET {place}/ports/{{}}/preview-url", box, 3000).url
        with contextlib.suppress(ApiException):
            ask(f"GET {place}/build-logs", box)
        allowed(ask, f"POST {place}/backup", box)
        wait_until(lambda: told("GET", f"/sandbox/{box}").get("backupState") != "InProgress", "the backup")
        ask(f"POST {place}/stop", box)
        wait_until(lambda: ask(f"GET {place}", box).state == "stopped", "the stop")
        ask(f"POST {place}/start", box)
        wait_until(lambda: ask(f"GET {place}", box).state == "started", "the start")
        ask(f"POST {place}/stop", box)
        wait_until(lambda: ask(f"GET {place}", box).state == "stopped", "the second stop")
        allowed(ask, f"POST {place}/archive", box)
    finally:
        ask(f"DELETE {place}", box, True)


def test_warm_pools(client, ask):
    if not client.has("POST /warm-pools"):
        return
    [region, *_] = told("GET", "/shared-regions")
    made = ask("POST /warm-pools", {"snapshot": "default", "target": region["id"], "pool": 1})
    try:
        assert made.id in [pool.id for pool in ask("GET /warm-pools")]
        assert ask("PATCH /warm-pools/{}", made.id, {"pool": 2}).pool == 2
    finally:
        ask("DELETE /warm-pools/{}", made.id)


def test_what_dashboards_ask_about_users(ask):
    # The server that tests run against has no identity provider, and a key is not a session.
    assert not ask("GET /users/account-providers")
    allowed(ask, "POST /users/linked-accounts", {"provider": "oidc", "userId": "x"})
    with contextlib.suppress(ApiException):
        ask("DELETE /users/linked-accounts/{}/{}", "oidc", "x")
    allowed(ask, "POST /users/mfa/sms/enroll")
    ask("POST /users/privacy-policies/accept")
    ask("POST /users/me/logins")
    assert not ask("GET /users/me/pending-sso-links")
    allowed(ask, "POST /users/me/pending-sso-links/{}/confirm", "none")
    allowed(ask, "DELETE /users/me/pending-sso-links/{}", "none")


def test_identity_providers_of_an_organization(client, ask):
    [organization] = ask("GET /organizations")
    providers = "/organizations/{}/identity-providers"
    if not client.has(f"POST {providers}"):
        return
    assert not ask(f"GET {providers}", organization.id)
    tried = ask(f"POST {providers}/test-connection", organization.id, {"issuerUrl": "https://id.invalid"})
    assert not tried.success and tried.error
    config = {"issuerUrl": "https://id.invalid", "clientId": "x", "clientSecret": "x"}
    body = {"name": "Okta", "oidcConfig": config, "emailDomains": ["example.com"]}
    # The organization of the key is one user's alone.
    allowed(ask, f"POST {providers}", organization.id, body)
    with contextlib.suppress(ApiException):
        ask(f"GET {providers}/{{}}", organization.id, "none")
    with contextlib.suppress(ApiException):
        ask(f"PATCH {providers}/{{}}", organization.id, "none", {"enabled": False})
    with contextlib.suppress(ApiException):
        ask(f"DELETE {providers}/{{}}", organization.id, "none")
    assert not ask(f"GET {providers}/workos-sso-connections", organization.id)
    allowed(ask, f"POST {providers}/workos-admin-portal-link", organization.id, {"intent": "sso"})


def test_audit(client, ask):
    [organization] = ask("GET /organizations")
    # The newest first.
    page = ask("GET /audit/organizations/{}", organization.id)
    assert page.total >= len(page.items)
    if client.has("GET /admin/audit"):
        assert ask("GET /admin/audit").total >= page.total
    if client.has("GET /audit"):
        assert ask("GET /audit").total >= page.total
    if client.has("POST /audit"):
        made = ask("POST /audit", {"actorId": "x", "actorEmail": "x@example.com", "action": "read"})
        assert made.actor_id == "x"
    if client.has("GET /audit/scenarios"):
        assert "sandbox" in [target.target_type for target in ask("GET /audit/scenarios").targets]


def test_limits(client, ask):
    """What is there is set again, so that no other test sees a difference."""
    [organization] = ask("GET /organizations")
    here = organization.id
    usage = told("GET", f"/organizations/{here}/usage")
    region = usage["regionUsage"][0]["regionId"]
    quota = "/admin/organizations/{}/quota/{}"
    # There is none of its own for a class unless one was made.
    try:
        ask(f"GET {quota}/{{}}", here, region, "container")
    except ApiException as error:
        assert error.status == 404, error
    ask("PATCH /organizations/{}/quota", here, {
        "totalCpuQuota": None, "totalMemoryQuota": None, "totalDiskQuota": None, "maxCpuPerSandbox": None,
        "maxMemoryPerSandbox": None, "maxDiskPerSandbox": None, "snapshotQuota": None, "maxSnapshotSize": None,
        "volumeQuota": None,
    })  # fmt: skip
    ask("POST /organizations/{}/sandbox-default-limited-network-egress", here, {"sandboxDefaultLimitedNetworkEgress": False})


def test_files_through_the_api(client, ask, sandbox, unique, tmp_path):
    if not client.has(f"GET {TOOLBOX}/files"):
        return
    folder = f"/tmp/{unique}"
    ask(f"POST {TOOLBOX}/files/folder", sandbox, folder, "755")
    ask(f"POST {TOOLBOX}/files/upload", sandbox, f"{folder}/a.txt", file=("a.txt", b"a needle\n"))
    assert bytes(ask(f"GET {TOOLBOX}/files/download", sandbox, f"{folder}/a.txt")) == b"a needle\n"
    assert b"a needle" in bytes(ask(f"POST {TOOLBOX}/files/bulk-download", sandbox, {"paths": [f"{folder}/a.txt"]}))
    assert [(file.name, file.is_dir) for file in ask(f"GET {TOOLBOX}/files", sandbox, path=folder)] == [("a.txt", False)]
    assert ask(f"GET {TOOLBOX}/files/info", sandbox, f"{folder}/a.txt").size == 9
    [match] = ask(f"GET {TOOLBOX}/files/find", sandbox, folder, "needle")
    assert (match.file, match.line) == (f"{folder}/a.txt", 1)
    assert ask(f"GET {TOOLBOX}/files/search", sandbox, folder, "*.txt").files == [f"{folder}/a.txt"]
    body = {"files": [f"{folder}/a.txt"], "pattern": "needle", "newValue": "pin"}
    assert ask(f"POST {TOOLBOX}/files/replace", sandbox, body)[0].success
    ask(f"POST {TOOLBOX}/files/permissions", sandbox, f"{folder}/a.txt", mode="600")
    ask(f"POST {TOOLBOX}/files/move", sandbox, f"{folder}/a.txt", f"{folder}/b.txt")
    ask(f"DELETE {TOOLBOX}/files", sandbox, f"{folder}/b.txt")
    for place in ("project-dir", "user-home-dir", "work-dir"):
        found = ask(f"GET {TOOLBOX}/{place}", sandbox)
        assert found is None or found.dir.startswith("/")


def test_commands_through_the_api(client, ask, sandbox, unique):
    if not client.has(f"POST {TOOLBOX}/process/execute"):
        return
    ran = ask(f"POST {TOOLBOX}/process/execute", sandbox, {"command": "sh -c 'echo out; exit 3'"})
    assert (ran.exit_code, ran.result) == (3, "out\n")
    session = f"{TOOLBOX}/process/session"
    ask(f"POST {session}", sandbox, {"sessionId": unique})
    ran = ask(f"POST {session}/{{}}/exec", sandbox, unique, {"command": "echo one"})
    assert "one" in ran.output
    begun = ask(f"POST {session}/{{}}/exec", sandbox, unique, {"command": "true", "runAsync": True})
    assert begun.cmd_id
    assert "one" in ask(f"GET {session}/{{}}/command/{{}}/logs", sandbox, unique, ran.cmd_id)
    assert ask(f"GET {session}/{{}}/command/{{}}", sandbox, unique, ran.cmd_id).exit_code == 0
    assert len(ask(f"GET {session}/{{}}", sandbox, unique).commands) == 2
    assert unique in [found.session_id for found in ask(f"GET {session}", sandbox)]
    ask(f"DELETE {session}/{{}}", sandbox, unique)
    terminal = f"{TOOLBOX}/process/pty"
    if client.has(f"POST {terminal}"):
        assert ask(f"POST {terminal}", sandbox, {"id": unique, "cols": 80, "rows": 24}).session_id == unique
        assert ask(f"GET {terminal}/{{}}", sandbox, unique).id == unique
        assert ask(f"POST {terminal}/{{}}/resize", sandbox, unique, {"cols": 90, "rows": 30}).cols == 90
        assert unique in [found.id for found in ask(f"GET {terminal}", sandbox).sessions]
        ask(f"DELETE {terminal}/{{}}", sandbox, unique)


def test_git_through_the_api(client, ask, sandbox, unique):
    if not client.has(f"GET {TOOLBOX}/git/status"):
        return
    path = f"/tmp/{unique}"
    command = (
        f"sh -c 'git init -q -b main {path}-made && "
        f"git -C {path}-made -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m first && "
        f"git clone -q --bare {path}-made {path}-origin'"
    )
    assert ask(f"POST {TOOLBOX}/process/execute", sandbox, {"command": command}).exit_code == 0
    ask(f"POST {TOOLBOX}/git/clone", sandbox, {"url": f"file://{path}-origin", "path": path})
    assert ask(f"GET {TOOLBOX}/git/status", sandbox, path).current_branch == "main"
    ask(f"POST {TOOLBOX}/git/branches", sandbox, {"path": path, "name": "other"})
    ask(f"POST {TOOLBOX}/git/checkout", sandbox, {"path": path, "branch": "main"})
    assert {"main", "other"} <= set(ask(f"GET {TOOLBOX}/git/branches", sandbox, path).branches)
    ask(f"DELETE {TOOLBOX}/git/branches", sandbox, {"path": path, "name": "other"})
    ask(f"POST {TOOLBOX}/files/upload", sandbox, f"{path}/a.txt", file=("a.txt", b"a\n"))
    ask(f"POST {TOOLBOX}/git/add", sandbox, {"path": path, "files": ["a.txt"]})
    done = ask(f"POST {TOOLBOX}/git/commit", sandbox, {"path": path, "message": "m", "author": "a", "email": "a@b.c"})
    assert ask(f"GET {TOOLBOX}/git/history", sandbox, path)[0].hash == done.hash
    ask(f"POST {TOOLBOX}/git/pull", sandbox, {"path": path})
    ask(f"POST {TOOLBOX}/git/push", sandbox, {"path": path})


def test_languages_through_the_api(client, ask, sandbox, unique):
    if not client.has(f"POST {TOOLBOX}/lsp/start"):
        return
    path = f"/tmp/{unique}"
    ask(f"POST {TOOLBOX}/files/folder", sandbox, path, "755")
    ask(f"POST {TOOLBOX}/files/upload", sandbox, f"{path}/a.py", file=("a.py", b"def first():\n    pass\n\nfir\n"))
    server = {"languageId": "python", "pathToProject": path}
    document = {**server, "uri": f"file://{path}/a.py"}
    ask(f"POST {TOOLBOX}/lsp/start", sandbox, server)
    ask(f"POST {TOOLBOX}/lsp/did-open", sandbox, document)
    symbols = ask(f"GET {TOOLBOX}/lsp/document-symbols", sandbox, "python", path, document["uri"])
    assert "first" in [symbol.name for symbol in symbols]
    position = {"position": {"line": 3, "character": 3}}
    assert ask(f"POST {TOOLBOX}/lsp/completions", sandbox, {**document, **position}).items
    # No server for Python searches a whole project.
    allowed(ask, f"GET {TOOLBOX}/lsp/workspace-symbols", sandbox, "python", path, "first")
    ask(f"POST {TOOLBOX}/lsp/did-close", sandbox, document)
    ask(f"POST {TOOLBOX}/lsp/stop", sandbox, server)
