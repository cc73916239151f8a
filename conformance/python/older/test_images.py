"""Sandboxes whose images the client's image builder describes. Old releases read the log at another address than new ones."""

import contextlib

import pytest
from daytona import CreateSandboxFromImageParams, DaytonaError, Image, SandboxState


def test_a_sandbox_is_made_of_an_image_and_its_log_is_heard(daytona, unique):
    image = Image.base("default").run_commands(f"echo {unique} | tee /tmp/word")
    logs = []
    sandbox = daytona.create(
        CreateSandboxFromImageParams(image=image), timeout=120, on_snapshot_create_logs=logs.append
    )
    try:
        assert sandbox.state == SandboxState.STARTED
        assert unique in "\n".join(logs)
        assert sandbox.process.exec("cat /tmp/word").result.strip() == unique
    finally:
        with contextlib.suppress(DaytonaError):
            daytona.delete(sandbox)


def test_a_failed_build_says_where(daytona, unique):
    image = Image.base("default").run_commands(f"echo {unique}; exit 3")
    with pytest.raises(DaytonaError) as caught:
        daytona.create(CreateSandboxFromImageParams(image=image), timeout=120)
    assert "exit code 3" in str(caught.value)
