"""Warm pools: asked for, filled, taken from, changed, deleted."""

import asyncio
import contextlib

import pytest
from conftest import wait_until
from daytona import AsyncDaytona

# The client turns no error of these calls into one of its own.
from daytona_api_client.exceptions import (
    BadRequestException,
    ConflictException,
    NotFoundException,
)

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def pool(daytona):
    pool = daytona.warm_pool.create("default", pool=2)
    yield pool
    with contextlib.suppress(NotFoundException):
        daytona.warm_pool.delete(pool.id)


def found(daytona, pool):
    return next(found for found in daytona.warm_pool.list() if found.id == pool.id)


def test_a_pool_fills_and_serves_creates_that_ask_for_nothing_special(daytona, create, pool):
    assert (pool.snapshot, pool.pool, pool.env, pool.error_reason) == ("default", 2, {}, None)
    snapshot = daytona.snapshot.get("default")
    assert (pool.cpu, pool.mem, pool.disk) == (snapshot.cpu, snapshot.mem, snapshot.disk)
    before = {item.id for item in daytona.list()}
    wait_until(lambda: found(daytona, pool).current_size == 2, "a filled pool")
    # Sandboxes of other tests may be on their way out.
    assert {item.id for item in daytona.list()} <= before
    sandbox = create()
    assert (sandbox.state, sandbox.warm_pool_id) == ("started", None)
    assert sandbox.process.exec("hostname").result.strip() == sandbox.id
    wait_until(lambda: found(daytona, pool).current_size == 2, "a pool that is filled again")


def test_a_sandbox_from_the_pool_has_what_its_create_asked_for(create, daytona, pool, unique):
    wait_until(lambda: found(daytona, pool).current_size == 2, "a filled pool")
    sandbox = create(name=unique, env_vars={"A": "1"}, labels={"k": "v"}, auto_stop_interval=7, os_user="root")
    assert (sandbox.name, sandbox.labels["k"], sandbox.auto_stop_interval) == (unique, "v", 7)
    assert sandbox.process.exec("echo $A; id -un").result == "1\nroot\n"
    assert sandbox.process.code_run("import os; print(os.environ['A'])").result == "1\n"


def test_a_pool_is_resized_drained_and_deleted(daytona, pool):
    assert daytona.warm_pool.update(pool.id, pool=1).pool == 1
    wait_until(lambda: found(daytona, pool).current_size == 1, "one member")
    assert daytona.warm_pool.update(pool.id, pool=0).pool == 0
    wait_until(lambda: found(daytona, pool).current_size == 0, "a drained pool")
    daytona.warm_pool.delete(pool.id)
    assert pool.id not in {other.id for other in daytona.warm_pool.list()}


def test_what_cannot_be_is_refused(daytona, pool):
    with pytest.raises(ConflictException):
        daytona.warm_pool.create("default", pool=1)
    with pytest.raises(BadRequestException):
        daytona.warm_pool.create("no-such-snapshot", pool=1)
    with pytest.raises(NotFoundException):
        daytona.warm_pool.update(UNKNOWN, pool=1)
    with pytest.raises(NotFoundException):
        daytona.warm_pool.delete(UNKNOWN)


def test_the_asynchronous_client_does_the_same(daytona):
    async def run():
        async with AsyncDaytona() as client:
            pool = await client.warm_pool.create("default", pool=1)
            try:
                assert pool.id in {other.id for other in await client.warm_pool.list()}
                assert (await client.warm_pool.update(pool.id, pool=2)).pool == 2
            finally:
                await client.warm_pool.delete(pool.id)

    asyncio.run(run())
