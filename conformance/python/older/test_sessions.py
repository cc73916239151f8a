"""Sessions. Before 0.27 a log is one text of both streams; from then on the client gets both apart."""

import asyncio

import pytest
from conftest import MINOR, since, wait_until
from daytona import DaytonaError, SessionExecuteRequest

IS_COMBINED = MINOR < 27


@pytest.fixture
def session(sandbox, unique):
    sandbox.process.create_session(unique)
    yield Session(sandbox.process, unique)
    sandbox.process.delete_session(unique)


class Session:
    def __init__(self, process, name):
        self.process, self.name = process, name

    def run(self, command):
        return self.process.execute_session_command(self.name, SessionExecuteRequest(command=command))

    def begin(self, command):
        request = SessionExecuteRequest(command=command, run_async=True)
        answer = self.process.execute_session_command(self.name, request)
        assert answer.exit_code is None
        return answer.cmd_id

    def exit_code(self, command):
        def ended():
            code = self.process.get_session_command(self.name, command).exit_code
            return None if code is None else (code,)

        return wait_until(ended, "the end of the command")[0]

    def logs(self, command):
        return self.texts(self.process.get_session_command_logs(self.name, command))

    def follow(self, command, on_piece=lambda seen: None):
        """Both streams, or the one text that there is, followed to the end."""
        seen = [""] if IS_COMBINED else ["", ""]

        def taker(stream):
            def take(piece):
                seen[stream] += piece
                on_piece(seen)

            return take

        takers = [taker(stream) for stream in range(len(seen))]
        asyncio.run(self.process.get_session_command_logs_async(self.name, command, *takers))
        return seen

    @staticmethod
    def texts(answer):
        if IS_COMBINED:
            return [answer if isinstance(answer, str) else answer.output]
        return [answer.stdout, answer.stderr]


def both(stdout, stderr, together):
    return [together] if IS_COMBINED else [stdout, stderr]


def test_a_command_answers_its_output_and_its_exit_code(session):
    answer = session.run("echo out; (exit 3)")
    assert session.texts(answer) == both("out\n", "", "out\n")
    assert answer.exit_code == 3
    assert session.logs(answer.cmd_id) == both("out\n", "", "out\n")


def test_nothing_of_the_marks_is_left_in_the_output(session):
    answer = session.run("echo 'out ä'; echo 'err ☃' >&2; printf end")
    for texts in (session.texts(answer), session.logs(answer.cmd_id), session.follow(answer.cmd_id)):
        assert len(texts) == (1 if IS_COMBINED else 2)
        assert not any(mark in text for text in texts for mark in "\x01\x02")
        for part in ("out ä\n", "err ☃\n", "end"):
            assert part in "".join(texts)
        if not IS_COMBINED:
            assert texts == ["out ä\nend", "err ☃\n"]


def test_a_session_remembers_and_lists_its_commands(session, unique):
    session.run("cd /tmp; A=1")
    assert session.texts(session.run("echo $PWD $A"))[0] == "/tmp 1\n"
    described = session.process.get_session(unique)
    assert [(c.command, c.exit_code) for c in described.commands] == [("cd /tmp; A=1", 0), ("echo $PWD $A", 0)]
    assert unique in [one.session_id for one in session.process.list_sessions()]


def test_live_logs_come_while_the_command_runs(sandbox, session, unique):
    command = session.begin(f"echo first; until [ -e /tmp/{unique} ]; do sleep 0.01; done; echo last; (exit 4)")

    def on_piece(seen):
        # The command cannot end before its first line has come here.
        if seen[0] == "first\n":
            sandbox.process.exec(f"touch /tmp/{unique}")

    assert session.follow(command, on_piece)[0] == "first\nlast\n"
    assert session.exit_code(command) == 4
    assert session.logs(command)[0] == "first\nlast\n"


def test_live_logs_outlast_a_silence_of_the_command(session):
    # Clients before 0.27 look every two seconds of silence whether the command has ended.
    command = session.begin("echo first; sleep 3; echo last")
    assert session.follow(command)[0] == "first\nlast\n"


def test_long_live_logs_arrive_whole(session):
    command = session.begin("seq 1 30000")
    assert session.follow(command)[0] == "".join(f"{n}\n" for n in range(1, 30001))


@since(140)
def test_input_reaches_a_running_command(session, unique):
    command = session.begin('read line; echo "got $line"')
    session.process.send_session_command_input(unique, command, "some words")
    assert session.exit_code(command) == 0
    assert session.logs(command)[0].endswith("got some words\n")


def test_what_is_missing_is_an_error(session, unique):
    with pytest.raises(DaytonaError):
        session.process.create_session(unique)
    for call in (
        lambda: session.process.get_session("missing"),
        lambda: session.process.get_session_command(unique, "missing"),
        lambda: session.process.delete_session("missing"),
    ):
        with pytest.raises(DaytonaError, match="(?i)not found"):
            call()
