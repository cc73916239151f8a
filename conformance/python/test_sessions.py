"""Sessions: a shell that lives, and the logs of what ran in it."""

import asyncio

import pytest
from daytona import (
    DaytonaBadRequestError,
    DaytonaConflictError,
    DaytonaGoneError,
    DaytonaNotFoundError,
    SessionExecuteRequest,
)

from conftest import wait_until


@pytest.fixture
def session(sandbox):
    """Runs commands in a session; the sandbox's process API is beside it."""

    class Session:
        id = "work"
        process = sandbox.process

        def run(self, command, **options):
            return self.process.execute_session_command(self.id, SessionExecuteRequest(command=command, **options))

        def begin(self, command, **options):
            answer = self.run(command, run_async=True, **options)
            assert answer.exit_code is None
            return answer.cmd_id

        def exit_code(self, command_id):
            return self.process.get_session_command(self.id, command_id).exit_code

        def wait(self, command_id):
            wait_until(lambda: self.exit_code(command_id) is not None, "the end of the command")
            return self.exit_code(command_id)

        def logs(self, command_id):
            logs = self.process.get_session_command_logs(self.id, command_id)
            return logs.stdout, logs.stderr

    sandbox.process.create_session("work")
    return Session()


def follow(session, command_id, on_chunk=lambda stream, text: None):
    """Reads the live logs to their end. `on_chunk` sees every piece as it comes."""
    pieces = {"out": [], "err": []}

    def taker(stream):
        def take(text):
            pieces[stream].append(text)
            on_chunk(stream, text)

        return take

    asyncio.run(
        session.process.get_session_command_logs_async(session.id, command_id, taker("out"), taker("err"))
    )
    return "".join(pieces["out"]), "".join(pieces["err"])


def test_a_command_answers_both_streams_and_its_exit_code(session):
    answer = session.run("echo out; echo err >&2; (exit 3)")
    assert (answer.stdout, answer.stderr, answer.exit_code) == ("out\n", "err\n", 3)
    assert session.logs(answer.cmd_id) == ("out\n", "err\n")
    assert session.exit_code(answer.cmd_id) == 3


def test_a_session_remembers(session):
    session.run("cd /tmp; A=1; export B=2; f() { echo \"f $1\"; }")
    assert session.run("pwd; echo $A$B; f x").stdout == "/tmp\n12\nf x\n"


def test_output_without_an_end_of_line_is_left_as_it_is(session):
    assert session.run("printf 'a\\nb'").stdout == "a\nb"


def test_sessions_are_created_listed_and_deleted(session):
    process = session.process
    process.create_session("other")
    assert {one.session_id for one in process.list_sessions()} == {"work", "other"}
    assert process.get_session("other").commands == []
    process.delete_session("other")
    assert [one.session_id for one in process.list_sessions()] == ["work"]
    with pytest.raises(DaytonaNotFoundError):
        process.get_session("other")


def test_a_session_lists_its_commands_in_order(session):
    first = session.run("true").cmd_id
    second = session.run("false").cmd_id
    commands = session.process.get_session("work").commands
    assert [(one.id, one.command, one.exit_code) for one in commands] == [(first, "true", 0), (second, "false", 1)]


def test_deleting_a_session_ends_what_runs_in_it(session, sandbox):
    session.begin("sleep 300 & sleep 301")
    wait_until(lambda: sandbox.process.exec("pgrep -c sleep").result == "2\n", "the start of the command")
    session.process.delete_session("work")
    assert sandbox.process.exec("pgrep -a sleep").result == ""


def test_an_asynchronous_command_answers_at_once_and_can_be_asked_later(session):
    command = session.begin("until [ -e go ]; do sleep 0.01; done; echo out; echo err >&2; (exit 4)")
    assert session.exit_code(command) is None
    session.process.exec("touch go")
    assert session.wait(command) == 4
    assert session.logs(command) == ("out\n", "err\n")


def test_commands_of_one_session_run_one_after_the_other(session):
    session.begin("sleep 0.3; echo first > order")
    assert session.run("echo second >> order; cat order").stdout == "first\nsecond\n"


def test_live_logs_come_while_the_command_runs_and_keep_the_streams_apart(session, sandbox):
    command = session.begin(
        "echo 'out ä'; echo 'err ☃' >&2; until [ -e go ]; do sleep 0.01; done; echo out2; echo err2 >&2"
    )
    seen = {"out": "", "err": ""}

    def on_chunk(stream, text):
        seen[stream] += text
        # The command cannot end before both first lines have come here.
        if seen == {"out": "out ä\n", "err": "err ☃\n"}:
            sandbox.process.exec("touch go")

    assert follow(session, command, on_chunk) == ("out ä\nout2\n", "err ☃\nerr2\n")
    assert session.wait(command) == 0


def test_live_logs_of_a_finished_command_are_all_of_it(session):
    command = session.begin("echo out; echo err >&2")
    session.wait(command)
    assert follow(session, command) == ("out\n", "err\n")


def test_long_live_logs_arrive_whole(session):
    command = session.begin("seq 1 100000; seq 1 1000 >&2")
    out, err = follow(session, command)
    assert out == "".join(f"{n}\n" for n in range(1, 100001))
    assert err == "".join(f"{n}\n" for n in range(1, 1001))


def test_live_logs_survive_a_long_silence_within_a_character(session):
    command = session.begin("printf '\\303'; sleep 0.5; printf '\\244\\n'")
    assert follow(session, command) == ("ä\n", "")


def test_live_logs_end_with_the_session(session):
    command = session.begin("echo out; sleep 300")
    follow(session, command, lambda *_: session.process.delete_session("work"))


def test_input_reaches_a_running_command(session):
    command = session.begin("echo ready; read line; echo \"got $line\"", suppress_input_echo=True)
    wait_until(lambda: session.logs(command)[0] == "ready\n", "the command's first line")
    session.process.send_session_command_input("work", command, "some words")
    assert session.wait(command) == 0
    assert session.logs(command)[0] == "ready\ngot some words\n"


def test_input_is_echoed_into_the_log_unless_told_otherwise(session):
    command = session.begin("read line; echo \"got $line\"")
    session.process.send_session_command_input("work", command, "words\n")
    assert session.wait(command) == 0
    assert session.logs(command)[0] == "words\ngot words\n"


def test_input_for_a_finished_command_is_refused(session):
    command = session.begin("true")
    session.wait(command)
    with pytest.raises(DaytonaGoneError):
        session.process.send_session_command_input("work", command, "late")


def test_a_session_exists_once(session):
    with pytest.raises(DaytonaConflictError):
        session.process.create_session("work")


def test_unknown_sessions_and_commands_are_not_found(session):
    process = session.process
    for call in (
        lambda: process.get_session("other"),
        lambda: process.delete_session("other"),
        lambda: process.execute_session_command("other", SessionExecuteRequest(command="true")),
        lambda: process.get_session_command("work", "other"),
        lambda: process.get_session_command_logs("work", "other"),
    ):
        with pytest.raises(DaytonaNotFoundError):
            call()


def test_an_empty_command_is_refused(session):
    with pytest.raises(DaytonaBadRequestError):
        session.run(" ")


def test_a_session_whose_shell_has_ended_says_so(session):
    assert session.run("exit 5").exit_code == 5
    with pytest.raises(DaytonaGoneError):
        session.run("true")
