"""The flat actions: every answer, good or bad, is held against the schema that the server tells."""

import base64
import json
import os
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request

import jsonschema
import pytest

from conftest import wait_until
from test_git import ADA, URL, served  # noqa: F401  (a fixture)

MIB = 1 << 20


def ask(method, path, body=None, key=None):
    """Status and JSON of an answer."""
    url = os.environ["DAYTONA_API_URL"].rstrip("/") + path
    headers = {"Authorization": f"Bearer {key or os.environ['DAYTONA_API_KEY']}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="session")
def actions():
    status, listed = ask("GET", "/actions")
    assert status == 200
    for action in listed:
        for schema in ("input_schema", "output_schema"):
            jsonschema.Draft202012Validator.check_schema(action[schema])
            assert action[schema]["additionalProperties"] is False
    return {action["name"]: action for action in listed}


@pytest.fixture
def act(actions):
    """Carries out an action; the answer must be 200 and of its schema."""

    def act(name, /, **input):
        status, output = ask("POST", f"/actions/{name}", input)
        assert status == 200, output
        jsonschema.validate(output, actions[name]["output_schema"], cls=jsonschema.Draft202012Validator)
        assert list(output)[:2] == ["success", "error"]
        assert (output["error"] is None) == output["success"]
        # What may be null is told, as null.
        assert set(output) == set(actions[name]["output_schema"]["properties"])
        return output

    return act


@pytest.fixture
def good(act):
    def good(name, /, **input):
        # What goes in is of its schema as well.
        output = act(name, **input)
        assert output["success"], output
        return output

    return good


def test_the_twelve_are_there(actions):
    assert sorted(actions) == [
        "create_sandbox", "delete_sandbox", "download_file", "execute_command", "get_sandbox", "git_clone",
        "list_files", "list_sandboxes", "run_code", "start_sandbox", "stop_sandbox", "upload_file",
    ]  # fmt: skip


def test_a_life_of_a_sandbox(good, act, unique):
    made = good("create_sandbox", name=unique, labels={"of": unique}, env={"A": 1, "B": True}, auto_stop_interval=0)
    sandbox = made["sandbox"]
    assert sandbox["name"] == unique and sandbox["labels"] == {"of": unique} and sandbox["auto_stop_interval"] == 0
    assert isinstance(sandbox["cpu"], int)
    try:
        ran = good("execute_command", sandbox_id=sandbox["id"], command="echo $A $B $C; exit 3", env={"C": 2.5})
        assert (ran["exit_code"], ran["result"].strip()) == (3, "1 true 2.5")
        ran = good("execute_command", sandbox_id=sandbox["id"], command="pwd", cwd="/tmp")
        assert ran["result"].strip() == "/tmp"
        assert good("stop_sandbox", sandbox_id=unique)["sandbox"]["state"] == "stopped"
        refused = act("run_code", sandbox_id=unique, code="1", language="python")
        assert not refused["success"]
        assert good("start_sandbox", sandbox_id=unique)["sandbox"]["state"] == "started"
        assert good("get_sandbox", sandbox_id=unique)["sandbox"]["id"] == sandbox["id"]
    finally:
        assert good("delete_sandbox", sandbox_id=unique)["sandbox"]["id"] == sandbox["id"]
    assert act("get_sandbox", sandbox_id=unique)["error"]


def test_lists_page_through_and_labels_must_all_match(good, create, unique):
    made = {create(labels={"of": unique, "n": str(n)}).id for n in range(3)}
    found, cursor = [], None
    while True:
        page = good("list_sandboxes", limit=2, labels={"of": unique}, **({"cursor": cursor} if cursor else {}))
        assert len(page["sandboxes"]) <= 2
        found += [sandbox["id"] for sandbox in page["sandboxes"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(found) == sorted(made)
    assert len(good("list_sandboxes", labels={"of": unique, "n": 1})["sandboxes"]) == 1
    assert good("list_sandboxes", name=f"{unique}-nobody")["sandboxes"] == []


def test_programs_run_fail_and_are_cut_off(good, act, sandbox):
    ran = good("run_code", sandbox_id=sandbox.id, code="import sys; print(6 * 7); sys.exit(3)", language="python")
    assert (ran["exit_code"], ran["result"].strip()) == (3, "42")
    began = time.monotonic()
    cut = act("execute_command", sandbox_id=sandbox.id, command="sleep 60", timeout=1)
    assert not cut["success"] and cut["exit_code"] is None and cut["error"]
    assert time.monotonic() - began < 30
    assert not act("run_code", sandbox_id=sandbox.id, code="while True: pass", language="python", timeout=1)["success"]
    assert not act("run_code", sandbox_id=sandbox.id, code="1", language="cobol")["success"]


def test_the_time_of_a_command_is_ten_seconds_unless_said(act, sandbox):
    began = time.monotonic()
    assert not act("execute_command", sandbox_id=sandbox.id, command="sleep 60")["success"]
    assert 9 < time.monotonic() - began < 45


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 5, "é\n".encode()], ids=["empty", "binary", "text"])
def test_files_come_back_as_they_went(good, sandbox, content):
    encoded = base64.b64encode(content).decode()
    up = good("upload_file", sandbox_id=sandbox.id, destination_path="/tmp/d/", file_name="x y.png", file_content_base64=encoded)
    assert (up["uploaded_path"], up["name"], up["size"]) == ("/tmp/d/x y.png", "x y.png", len(content))
    down = good("download_file", sandbox_id=sandbox.id, file_path="/tmp/d/x y.png")
    assert base64.b64decode(down["content_base64"]) == content
    assert (down["name"], down["size"], down["mime_type"]) == ("x y.png", len(content), "image/png")
    listed = good("list_files", sandbox_id=sandbox.id, path="/tmp/d")["files"]
    assert [(file["name"], file["is_dir"], file["size"]) for file in listed] == [("x y.png", False, len(content))]


def test_a_folder_as_destination_needs_a_name(act, sandbox):
    refused = act("upload_file", sandbox_id=sandbox.id, destination_path="/tmp/d/", file_content_base64="YQ==")
    assert "file_name" in refused["error"]
    assert not act("upload_file", sandbox_id=sandbox.id, destination_path="/tmp/d/x", file_content_base64="a")["success"]


@pytest.mark.timeout(240)
def test_a_file_of_100_mib_goes_both_ways_and_a_byte_more_does_not(good, act, sandbox):
    most = 100 * MIB
    sandbox.process.exec(f"head -c {most} /dev/urandom > /tmp/most; cp /tmp/most /tmp/more; printf x >> /tmp/more")
    refused = act("download_file", sandbox_id=sandbox.id, file_path="/tmp/more")
    assert refused["content_base64"] is None and str(most + 1) in refused["error"] and str(most) in refused["error"]
    down = good("download_file", sandbox_id=sandbox.id, file_path="/tmp/most")
    assert down["size"] == most
    content = down.pop("content_base64")
    up = good("upload_file", sandbox_id=sandbox.id, destination_path="/tmp/back", file_content_base64=content)
    assert up["size"] == most
    assert sandbox.process.exec("cmp /tmp/most /tmp/back").exit_code == 0
    # A file that does not tell its size, and has no end.
    refused = act("download_file", sandbox_id=sandbox.id, file_path="/dev/zero")
    assert not refused["success"] and refused["content_base64"] is None
    more = base64.b64encode(bytes(most + 1)).decode()
    refused = act("upload_file", sandbox_id=sandbox.id, destination_path="/tmp/no", file_content_base64=more)
    assert str(most + 1) in refused["error"]
    assert sandbox.process.exec("ls /tmp/no").exit_code != 0


def test_a_repository_is_cloned_and_a_password_is_not_told(good, act, served):
    secret = ADA["password"]
    url = URL.replace("//", f"//ada:{secret.replace(' ', '%20')}@")
    cloned = good("git_clone", sandbox_id=served.id, url=url, path="c", **ADA)
    assert (cloned["repo_url"], cloned["clone_path"]) == (URL, "c")
    ran = good("execute_command", sandbox_id=served.id, command="cd c && git branch --show-current")
    assert ran["result"].strip() == "main"
    refused = act("git_clone", sandbox_id=served.id, url=url, path="d", username="ada", password="hunter2")
    assert not refused["success"]
    refused = act("git_clone", sandbox_id=served.id, url=URL, path="d", username="ada", password="hunter2")
    assert not refused["success"]
    assert "hunter2" not in json.dumps(refused)


def test_every_action_answers_nonsense_by_its_schema(actions, act):
    for name, action in actions.items():
        schema = action["input_schema"]
        nonsense = {key: [[1]] for key in schema["properties"]} | {"surprise": 1}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(nonsense, schema)
        refused = act(name, **nonsense)
        assert not refused["success"]
        for key in nonsense:
            assert key in refused["error"], (name, key)
        if "sandbox_id" in schema["properties"]:
            least = {key: "x" for key in schema["required"]} | {"sandbox_id": "no-such-sandbox"}
            jsonschema.validate(least, schema)
            if name == "upload_file":
                least["file_content_base64"] = "eA=="
            refused = act(name, **least)
            assert not refused["success"] and refused["error"], (name, refused)


def test_no_key_and_no_such_action_are_no_answers_of_actions():
    assert ask("POST", "/actions/list_sandboxes", {}, key="wrong")[0] == 401
    assert ask("POST", "/actions/sleep", {})[0] == 404
    assert ask("GET", "/actions/sleep")[0] == 404


def test_what_actions_make_the_client_sees(daytona, good, act, unique):
    made = good("create_sandbox", name=unique)["sandbox"]
    assert daytona.get(made["id"]).name == unique
    good("delete_sandbox", sandbox_id=made["id"])
    wait_until(lambda: not act("get_sandbox", sandbox_id=made["id"])["success"], "the end of the sandbox")


def examples():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "actions.md").read_text()
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


def test_the_example_of_the_documentation_works():
    run = subprocess.run(["bash", "-ec", examples()[0]], capture_output=True, text=True, timeout=60, check=True)
    outputs = [json.loads(output) for output in run.stdout.replace("}{", "}\n{").splitlines()]
    assert [output["success"] for output in outputs] == [True, True, True], outputs
    assert outputs[1]["result"].strip() == "42"


@pytest.fixture
def command_line():
    """The environment in which `alcove` is the program that serves, and asks it."""
    # It speaks no TLS; the server takes both on one port.
    program = pathlib.Path(os.environ["ALCOVE_BIN"])
    return os.environ | {
        "DAYTONA_API_URL": os.environ["DAYTONA_API_URL"].replace("https://", "http://"),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }


def test_the_example_for_the_command_line_works(command_line, tmp_path):
    run = subprocess.run(
        ["bash", "-ec", examples()[1]], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=command_line
    )
    assert run.returncode == 0, run
    assert (tmp_path / "hello").read_text() == "hello\n"
    assert '"content_base64":null' in run.stdout


def test_a_refused_action_ends_the_command_with_1_and_a_file_goes_up(command_line, sandbox, tmp_path):
    def run(*arguments):
        run = subprocess.run(
            ["alcove", "action", *arguments], capture_output=True, text=True, timeout=60, env=command_line
        )
        return run.returncode, run.stdout, run.stderr

    code, out, _ = run("get_sandbox", "--json", '{"sandbox_id": "no-such-sandbox"}')
    assert code == 1 and not json.loads(out)["success"]
    code, _, err = run("sleep")
    assert code == 1 and "no action" in err
    (tmp_path / "up.bin").write_bytes(b"\x00\xff")
    target = json.dumps({"sandbox_id": sandbox.id, "destination_path": "/tmp/up/"})
    code, out, _ = run("upload_file", "--json", target, "--file", str(tmp_path / "up.bin"))
    assert code == 0, out
    assert sandbox.fs.download_file("/tmp/up/up.bin") == b"\x00\xff"
