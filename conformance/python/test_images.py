"""Sandboxes whose images the client's image builder describes."""

import asyncio
import contextlib
import os
import zipfile

import pytest
from daytona import (
    AsyncDaytona,
    CreateSandboxFromImageParams,
    DaytonaError,
    DaytonaNotFoundError,
    Image,
    Resources,
    SandboxState,
)


@pytest.fixture
def make(daytona):
    """Creates sandboxes of images; they are gone after the test."""
    made = []

    def make(image, logs=None, **params):
        more = {} if logs is None else {"on_snapshot_create_logs": logs.append}
        sandbox = daytona.create(CreateSandboxFromImageParams(image=image, **params), timeout=120, **more)
        made.append(sandbox)
        return sandbox

    yield make
    for sandbox in made:
        with contextlib.suppress(DaytonaNotFoundError):
            daytona.delete(sandbox)


def test_a_sandbox_is_made_of_an_image_and_its_log_is_heard(make, unique):
    image = (
        Image.base("default")
        .env({"WHO": unique})
        .run_commands("echo said by the build", "echo $WHO > /tmp/who")
        .workdir("/tmp")
    )
    logs = []
    sandbox = make(image, logs, resources=Resources(cpu=2, memory=2, disk=4))
    assert sandbox.state == SandboxState.STARTED
    assert (sandbox.cpu, sandbox.memory, sandbox.disk) == (2, 2, 4)
    text = "\n".join(logs)
    assert "said by the build" in text
    assert "Built in" in text
    assert sandbox.process.exec("cat who; echo $WHO").result == f"{unique}\n{unique}\n"
    assert sandbox.build_info.snapshot_ref.startswith("daytona-")

    # The same again is there at once: nothing is built, and so nothing said.
    logs.clear()
    again = make(image, logs, env_vars={"A": "1"})
    assert logs == []
    assert again.build_info.snapshot_ref == sandbox.build_info.snapshot_ref
    assert again.process.exec("cat /tmp/who").result == f"{unique}\n"


def write_wheel(folder):
    """A package that needs no index."""
    path = folder / "hello_alcove-1-py3-none-any.whl"
    info = "hello_alcove-1.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("hello_alcove.py", "WORD = 'installed'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hello-alcove\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_local_files_folders_and_packages_are_in_it(make, tmp_path):
    folder = tmp_path / "app"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b.txt").write_text("two\n")
    single = tmp_path / "single.txt"
    single.write_text("one\n")
    wheel = write_wheel(tmp_path)
    image = (
        Image.base("default")
        .dockerfile_commands(["USER root"])
        .add_local_file(str(single), "/opt/single.txt")
        .add_local_dir(str(folder), "/opt/app")
        .add_local_file(str(wheel), f"/opt/{wheel.name}")
        .pip_install(f"/opt/{wheel.name}", extra_options="--no-index --break-system-packages")
    )
    sandbox = make(image)
    command = "cat /opt/single.txt /opt/app/deep/b.txt; python3 -c 'import hello_alcove; print(hello_alcove.WORD)'"
    assert sandbox.process.exec(command).result == "one\ntwo\ninstalled\n"


def test_a_dockerfile_makes_a_sandbox(make, tmp_path, unique):
    path = tmp_path / "Dockerfile"
    path.write_text(
        f"FROM default AS one\nRUN echo {unique} > /tmp/1\nFROM default\nCOPY --from=one /tmp/1 /tmp/copied\n"
    )
    assert make(Image.from_dockerfile(path)).process.exec("cat /tmp/copied").result == f"{unique}\n"


def test_the_name_of_an_image_is_pulled(make):
    """`image` as a text is a Dockerfile of one line."""
    logs = []
    sandbox = make(os.environ["CONFORMANCE_IMAGE"], logs)
    assert sandbox.state == SandboxState.STARTED
    assert sandbox.process.exec("echo here").result == "here\n"


def test_a_failed_build_says_where_and_its_sandbox_stays_to_be_looked_at(daytona, unique):
    image = Image.base("default").run_commands("echo because; exit 3")
    logs = []
    with pytest.raises(DaytonaError) as caught:
        daytona.create(
            CreateSandboxFromImageParams(image=image, name=unique), timeout=120, on_snapshot_create_logs=logs.append
        )
    assert "line 2" in str(caught.value)
    assert "exit code 3" in str(caught.value)
    assert "because" in "\n".join(logs)
    sandbox = daytona.get(unique)
    assert sandbox.state == SandboxState.BUILD_FAILED
    assert "exit code 3" in sandbox.error_reason
    daytona.delete(sandbox)


def test_what_cannot_be_had_is_told(daytona, unique):
    base = "127.0.0.1:1/no/such:1"
    with pytest.raises(DaytonaError) as caught:
        daytona.create(CreateSandboxFromImageParams(image=Image.base(base), name=unique), timeout=120)
    # What it hears of by an event has no reason in this client: only the state is taken from it.
    assert "build_failed" in str(caught.value).lower()
    sandbox = daytona.get(unique)
    assert base in sandbox.error_reason
    daytona.delete(sandbox)


def test_the_asynchronous_client_hears_the_log_too(unique):
    async def body():
        async with AsyncDaytona() as daytona:
            image = Image.base("default").run_commands(f"echo {unique}")
            logs = []
            sandbox = await daytona.create(
                CreateSandboxFromImageParams(image=image), timeout=120, on_snapshot_create_logs=logs.append
            )
            assert unique in "\n".join(logs)
            assert sandbox.state == SandboxState.STARTED
            await daytona.delete(sandbox)

    asyncio.run(body())
