"""Secrets: kept, found, changed and removed; and refused where a sandbox is to have one."""

import contextlib

import pytest
from daytona import (
    CreateSandboxFromSnapshotParams,
    CreateSecretParams,
    DaytonaError,
    UpdateSecretParams,
)
# The newest client does not translate what its secrets are refused with.
from daytona_api_client.exceptions import ApiException, ConflictException, NotFoundException


@pytest.fixture
def secret(daytona, unique):
    params = CreateSecretParams(name=f"s_{unique}", value="hush hush", description="of a test", hosts=["api.example.com"])
    secret = daytona.secret.create(params)
    yield secret
    with contextlib.suppress(ApiException):
        daytona.secret.delete(secret.id)


def test_a_secret_is_kept_and_its_value_is_not_told(daytona, secret):
    assert secret.placeholder.startswith("dtn_secret_")
    found = daytona.secret.get(secret.id)
    assert (found.name, found.hosts, found.description) == (secret.name, ["api.example.com"], "of a test")
    assert "hush" not in found.to_json()
    with pytest.raises(ConflictException):
        daytona.secret.create(CreateSecretParams(name=secret.name, value="other"))
    changed = daytona.secret.update(secret.id, UpdateSecretParams(value="hush again", hosts=["*.example.com"]))
    assert (changed.hosts, changed.placeholder) == (["*.example.com"], secret.placeholder)
    daytona.secret.delete(secret.id)
    with pytest.raises(NotFoundException):
        daytona.secret.get(secret.id)


def test_secrets_are_listed_page_by_page(daytona, unique):
    made = [daytona.secret.create(CreateSecretParams(name=f"p_{unique}_{n}", value="hush")) for n in range(3)]
    try:
        names, cursor = [], None
        while True:
            page = daytona.secret.list(cursor=cursor, limit=2, name=f"p_{unique}", sort="name", order="asc")
            assert page.total == 3
            names += [secret.name for secret in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert names == [secret.name for secret in made]
    finally:
        for secret in made:
            daytona.secret.delete(secret.id)


def test_no_sandbox_is_given_a_secret_and_that_is_said(daytona, sandbox, secret):
    with pytest.raises(DaytonaError, match="secrets is not supported"):
        daytona.create(CreateSandboxFromSnapshotParams(secrets={"KEY": secret.name}))
    with pytest.raises(DaytonaError, match="secrets is not supported"):
        sandbox.update_secrets({"KEY": secret.name})
    sandbox.update_secrets({})
    assert sandbox.process.exec("echo [$KEY]").result.strip() == "[]"
