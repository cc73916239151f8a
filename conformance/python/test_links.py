"""Sandboxes that are made beside another one."""

import pytest
from conftest import wait_until
from daytona import DaytonaBadRequestError, DaytonaNotFoundError

SERVER = (
    "import socket; s = socket.create_server(('0.0.0.0', 7070))\n"
    "while True:\n  c, a = s.accept(); c.sendall(b'from ' + a[0].encode()); c.close()"
)


def reaches(sandbox, host):
    """What the server on a host says, as far as it is reached."""
    return sandbox.process.exec(f'timeout 3 bash -c "cat </dev/tcp/{host}/7070" 2>/dev/null').result


def serve(sandbox):
    sandbox.fs.upload_file(SERVER.encode(), "/tmp/server.py")
    sandbox.process.exec("setsid python3 /tmp/server.py >/dev/null 2>&1 </dev/null &")
    wait_until(lambda: reaches(sandbox, "127.0.0.1"), "the server")


def test_linked_sandboxes_talk_by_name_and_go_together(create, daytona, unique):
    owner = create(name=f"{unique}-app")
    follower = create(name=f"{unique}-db", linked_sandbox=owner.name, ephemeral=True)
    stranger = create()
    for sandbox in (owner, follower):
        serve(sandbox)
    assert reaches(owner, f"{unique}-db.sandbox.internal").startswith("from 10.")
    assert reaches(follower, f"{owner.id}.sandbox.internal").startswith("from 10.")
    address = owner.process.exec(f"getent ahostsv4 {unique}-db.sandbox.internal").result.split()[0]
    assert reaches(owner, address), "the control"
    assert not reaches(stranger, address)
    assert not reaches(stranger, f"{unique}-db.sandbox.internal")
    daytona.delete(owner)

    def is_gone():
        try:
            return not daytona.get(follower.id)
        except DaytonaNotFoundError:
            return True

    wait_until(is_gone, "the end of the follower")


def test_what_cannot_be_linked_is_refused(create, unique):
    owner = create()
    with pytest.raises(DaytonaBadRequestError, match="ephemeral"):
        create(linked_sandbox=owner.id)
    with pytest.raises(DaytonaNotFoundError):
        create(linked_sandbox=unique, ephemeral=True)
    follower = create(linked_sandbox=owner.id, ephemeral=True)
    with pytest.raises(DaytonaBadRequestError, match="linked with another one"):
        create(linked_sandbox=follower.id, ephemeral=True)
