"""Workspaces, and the toolbox by way of the API, as clients up to 0.20 use them."""

import asyncio
import json
import os

import daytona_sdk
import pytest
from conftest import MINOR, Params, find, remove, since, upload, wait_until
from daytona_sdk import SessionExecuteRequest


def state(daytona, workspace):
    """As the client reads it: up to 0.10 out of a text of JSON inside of the answer."""
    instance = find(daytona, workspace.id).instance
    if MINOR < 10:
        return json.loads(instance.info.provider_metadata)["state"]
    return str(getattr(instance.state, "value", instance.state))


def test_a_workspace_lives_and_ends(create, daytona, unique):
    workspace = create(labels={"mine": unique}, env_vars={"A": "1"})
    assert state(daytona, workspace) == "started"
    assert find(daytona, workspace.id).instance.labels["mine"] == unique
    assert workspace.process.exec("echo kept > kept").exit_code == 0
    workspace.set_labels({"mine": unique, "more": "ä"})
    assert find(daytona, workspace.id).instance.labels["more"] == "ä"
    daytona.stop(workspace)
    assert state(daytona, workspace) == "stopped"
    daytona.start(workspace)
    assert state(daytona, workspace) == "started"
    assert workspace.process.exec("cat kept").result.strip() == "kept"
    remove(daytona, workspace)

    def is_gone():
        try:
            return state(daytona, workspace) == "destroyed"
        except Exception as error:
            assert "404" in str(error) or "not found" in str(error).lower(), error
            return True

    wait_until(is_gone, "the end of the workspace")


@since(10)
def test_workspaces_are_listed(create, daytona, unique):
    workspace = create(labels={"mine": unique})
    assert workspace.id in [found.id for found in daytona.list()]
    if MINOR >= 16:
        assert [found.id for found in daytona.list(labels={"mine": unique})] == [workspace.id]
        assert daytona.find_one(labels={"mine": unique}).id == workspace.id


@since(10)
def test_settings_are_kept(create, daytona):
    workspace = create(auto_stop_interval=30)
    assert workspace.instance.auto_stop_interval == 30
    workspace.set_autostop_interval(20)
    assert find(daytona, workspace.id).instance.auto_stop_interval == 20
    if MINOR >= 20:
        workspace.set_auto_archive_interval(60)
        assert find(daytona, workspace.id).instance.auto_archive_interval == 60
    link = workspace.get_preview_link(3000)
    assert "3000-" in (link if isinstance(link, str) else link.url)


def test_commands_and_programs_run(workspace):
    process = workspace.process
    ran = process.exec("sh -c 'echo out; exit 3'", cwd="/tmp")
    assert (ran.exit_code, ran.result.strip()) == (3, "out")
    assert process.exec("pwd", cwd="/tmp").result.strip() == "/tmp"
    ran = process.code_run('print("h\\u00e9llo", 6 * 7)')
    assert (ran.exit_code, ran.result.strip()) == (0, "héllo 42")
    assert process.code_run("raise SystemExit(4)").exit_code == 4
    if MINOR >= 16:
        assert process.exec("echo $A", env={"A": "one"}).result.strip() == "one"
    with pytest.raises(Exception, match="(?i)408|time"):
        process.exec("sleep 300", timeout=1)


def test_a_session_keeps_its_state_and_its_logs_are_text(workspace, unique):
    process = workspace.process
    execute = process.execute_session if MINOR < 10 else process.execute_session_command
    logs = process.get_execute_session_command_logs if MINOR < 10 else process.get_session_command_logs
    process.create_session(unique)
    first = execute(unique, SessionExecuteRequest(command="cd /tmp; export B=two; echo out; echo err >&2"))
    assert first.exit_code == 0
    assert execute(unique, SessionExecuteRequest(command="pwd; echo $B")).output.strip() == "/tmp\ntwo"
    assert sorted(logs(unique, first.cmd_id).split()) == ["err", "out"]
    begun = execute(unique, SessionExecuteRequest(command="true", var_async=True))
    assert begun.cmd_id
    if MINOR >= 10:
        assert process.get_session_command(unique, first.cmd_id).exit_code == 0
        assert len(process.get_session(unique).commands) == 3
        # Older ones want other names for what a command has, and read no session with one.
        assert unique in [session.session_id for session in process.list_sessions()]
    process.delete_session(unique)
    assert unique not in [session.session_id for session in process.list_sessions()]


@since(17)
def test_logs_are_followed(workspace, unique):
    process, chunks = workspace.process, []
    process.create_session(unique)
    request = SessionExecuteRequest(command="echo one; read x < /tmp/%s; echo two" % unique, run_async=True)
    workspace.process.exec(f"mkfifo /tmp/{unique}")
    command = process.execute_session_command(unique, request)

    async def follow():
        def note(chunk):
            chunks.append(chunk)
            if "one" in "".join(chunks) and "released" not in state:
                state.add("released")
                process.exec(f"sh -c 'echo go > /tmp/{unique}'")

        state = set()
        async with asyncio.timeout(60):
            await process.get_session_command_logs_async(unique, command.cmd_id, note)

    asyncio.run(follow())
    assert "".join(chunks).split() == ["one", "two"]
    process.delete_session(unique)


def test_files_are_made_found_changed_and_moved(workspace, unique):
    fs, folder = workspace.fs, f"/tmp/{unique}"
    fs.create_folder(folder, "755")
    content = bytes(range(256)) * 3
    upload(workspace, f"{folder}/bytes", content)
    assert bytes(fs.download_file(f"{folder}/bytes")) == content
    upload(workspace, f"{folder}/a.txt", b"a needle\n")
    assert {(file.name, file.is_dir) for file in fs.list_files(folder)} == {("a.txt", False), ("bytes", False)}
    assert fs.get_file_info(f"{folder}/a.txt").size == 9
    assert fs.search_files(folder, "*.txt").files == [f"{folder}/a.txt"]
    [match] = [match for match in fs.find_files(folder, "needle") if match.file.endswith(".txt")]
    assert (match.file, match.line) == (f"{folder}/a.txt", 1)
    assert fs.replace_in_files([f"{folder}/a.txt"], "needle", "pin")[0].success
    fs.set_file_permissions(f"{folder}/a.txt", mode="600")
    assert fs.get_file_info(f"{folder}/a.txt").mode.endswith("rw-------")
    fs.move_files(f"{folder}/a.txt", f"{folder}/b.txt")
    assert bytes(fs.download_file(f"{folder}/b.txt")) == b"a pin\n"
    fs.delete_file(f"{folder}/b.txt")
    assert [file.name for file in fs.list_files(folder)] == ["bytes"]


def test_a_repository_is_cloned_and_committed_to(workspace, unique):
    path = f"/tmp/{unique}"
    made = workspace.process.exec(
        f"sh -c 'git init -q -b main {path}-origin && "
        f"git -C {path}-origin -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m first'"
    )
    assert made.exit_code == 0, made.result
    git = workspace.git
    git.clone(f"file://{path}-origin", path)
    assert "main" in git.branches(path).branches
    # It reads the files of a status under a name that no server has ever sent.
    with pytest.raises(Exception, match="FileStatus"):
        git.status(path)
    upload(workspace, f"{path}/a.txt", b"a\n")
    git.add(path, ["a.txt"])
    git.commit(path, "message", "a", "a@b.c")
    logged = workspace.process.exec("git log --format=%s", cwd=path)
    assert logged.result.split() == ["message", "first"], logged.result


def test_a_language_server_answers(workspace, unique):
    path = f"/tmp/{unique}"
    workspace.fs.create_folder(path, "755")
    upload(workspace, f"{path}/a.py", b"def first():\n    pass\n")
    server = workspace.create_lsp_server("python" if MINOR < 10 else daytona_sdk.LspLanguageId.PYTHON, path)
    server.start()
    server.did_open(f"{path}/a.py")
    assert "first" in [symbol.name for symbol in server.document_symbols(f"{path}/a.py")]
    server.did_close(f"{path}/a.py")
    server.stop()


@since(18)
def test_a_volume_is_shared(create, daytona, unique):
    volume = daytona.volume.get(unique, create=True)
    wait_until(lambda: daytona.volume.get(unique).state == "ready", "the volume")
    one, other = [create(volumes=[daytona_sdk.VolumeMount(volumeId=volume.id, mountPath="/data")]) for _ in range(2)]
    assert one.process.exec("sh -c 'echo one > /data/file'").exit_code == 0
    assert other.process.exec("cat /data/file").result.strip() == "one"


@since(20)
def test_an_image_is_built_by_name_and_workspaces_are_made_of_it(daytona, unique):
    image = daytona_sdk.Image.base(os.environ["CONFORMANCE_IMAGE"]).env({"BUILT": "by name"})
    said = []
    daytona.create_image(unique, image, on_logs=said.append)
    assert any("active" in str(line).lower() for line in said), said
    built = daytona.create(Params(language="python", image=unique), timeout=120)
    try:
        assert built.process.exec("echo $BUILT").result.strip() == "by name"
    finally:
        remove(daytona, built)
    with pytest.raises(Exception, match="(?i)already|exist"):
        daytona.create_image(unique, image)
    broken = daytona_sdk.Image.base(os.environ["CONFORMANCE_IMAGE"]).run_commands("exit 3")
    with pytest.raises(Exception, match="(?i)failed"):
        daytona.create_image(f"{unique}-broken", broken)
    daytona.image_api.remove_image(unique)


@since(18)
def test_an_image_is_built_for_a_workspace(daytona, workspace):
    image = daytona_sdk.Image.base(os.environ["CONFORMANCE_IMAGE"]).env({"BUILT": "yes"})
    built = daytona.create(Params(language="python", image=image), timeout=120)
    try:
        assert built.process.exec("echo $BUILT").result.strip() == "yes"
    finally:
        remove(daytona, built)
