"""Tokens for SSH, as the official client asks for them, and the command that comes with one."""

import shlex
import subprocess

OPTIONS = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]


def ssh(access, command):
    program, *arguments = shlex.split(access.ssh_command)
    assert program == "ssh" and access.token in access.ssh_command
    return subprocess.run([program, *OPTIONS, *arguments, command], capture_output=True, text=True, timeout=60)


def test_the_command_logs_in_until_its_token_is_revoked(sandbox):
    access = sandbox.create_ssh_access(expires_in_minutes=10)
    assert access.sandbox_id == sandbox.id
    assert (access.expires_at - access.created_at).total_seconds() == 600
    inside = ssh(access, "cat; exit 3")
    assert inside.returncode == 3, inside.stderr
    found = sandbox.validate_ssh_access(access.token)
    assert (found.valid, found.sandbox_id) == (True, sandbox.id)
    sandbox.revoke_ssh_access(access.token)
    assert not sandbox.validate_ssh_access(access.token).valid
    refused = ssh(access, "true")
    assert refused.returncode == 255
    assert "has been revoked" in refused.stderr
