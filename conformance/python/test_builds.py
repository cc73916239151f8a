"""Snapshots that the client's image builder describes."""

import contextlib

import pytest
from daytona import CreateSnapshotParams, DaytonaError, DaytonaNotFoundError, Image, Resources


@pytest.fixture
def build(daytona, unique):
    made = []

    def build(image, **more):
        name = f"{unique}-{len(made)}"
        made.append(name)
        return daytona.snapshot.create(CreateSnapshotParams(name=name, image=image, **more.pop("params", {})), **more)

    yield build
    for name in made:
        with contextlib.suppress(DaytonaNotFoundError):
            daytona.snapshot.delete(daytona.snapshot.get(name))


def test_an_image_of_commands_is_built_and_used(build, create):
    image = (
        Image.base("default")
        .env({"GREETING": "it's me"})
        .run_commands("mkdir '/tmp/my dir'")
        .workdir("/tmp/my dir")
        .run_commands("echo $GREETING > greeting", ["sh", "-c", "pwd > where"])
    )
    logs = []
    snapshot = build(image, on_logs=logs.append, params={"resources": Resources(cpu=2)})
    assert snapshot.state == "active"
    assert (snapshot.cpu, snapshot.error_reason) == (2, None)
    text = "".join(logs)
    assert "Step 1/" in text
    assert "Built in" in text
    sandbox = create(snapshot=snapshot.name)
    answer = sandbox.process.exec("cat '/tmp/my dir/greeting' '/tmp/my dir/where'; echo $GREETING")
    assert answer.result == "it's me\n/tmp/my dir\nit's me\n"


def test_a_dockerfile_is_built(build, create, tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text("FROM default AS one\nRUN echo one > /tmp/1\nFROM default\nCOPY --from=one /tmp/1 /tmp/copied\n")
    snapshot = build(Image.from_dockerfile(path))
    assert create(snapshot=snapshot.name).process.exec("cat /tmp/copied").result == "one\n"


def test_local_files_and_folders_are_in_the_image(build, create, tmp_path):
    folder = tmp_path / "app"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b.txt").write_text("two\n")
    tool = folder / "tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    single = tmp_path / "single.txt"
    single.write_text("one\n")
    image = (
        Image.base("default").add_local_file(str(single), "/opt/single.txt").add_local_dir(str(folder), "/opt/app")
    )
    sandbox = create(snapshot=build(image).name)
    answer = sandbox.process.exec("cat /opt/single.txt /opt/app/deep/b.txt; /opt/app/tool")
    assert answer.result == "one\ntwo\ntool\n"


def test_a_failed_build_says_where(build):
    with pytest.raises(DaytonaError) as caught:
        build(Image.base("default").run_commands("echo because; exit 3"))
    assert "line 2" in str(caught.value)
    assert "exit code 3" in str(caught.value)


def test_what_is_not_supported_is_refused(build):
    with pytest.raises(DaytonaError) as caught:
        build(Image.base("no-such-image"))
    assert "no-such-image" in str(caught.value)
