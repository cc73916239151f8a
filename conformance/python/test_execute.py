"""Commands and source text."""

import time

import pytest
from daytona import CodeRunParams, DaytonaProcessExecutionTimeoutError, DaytonaTimeoutError
from daytona_toolbox_api_client.exceptions import ApiException


def test_a_command_is_run_by_a_shell(sandbox):
    result = sandbox.process.exec("printf 'a\\nb\\n' | grep b && echo \"$((1 + 1))\"; echo 'c d'")
    assert (result.exit_code, result.result) == (0, "b\n2\nc d\n")
    assert result.artifacts.stdout == result.result


def test_both_streams_come_back_in_order(sandbox):
    result = sandbox.process.exec("echo one; echo two >&2; echo three")
    assert result.result == "one\ntwo\nthree\n"


def test_a_command_runs_in_the_working_directory_or_where_it_is_told(sandbox):
    assert sandbox.process.exec("pwd").result == f"{sandbox.get_work_dir()}\n"
    assert sandbox.process.exec("pwd", cwd="/tmp").result == "/tmp\n"
    sandbox.process.exec("mkdir -p a/b")
    assert sandbox.process.exec("pwd", cwd="a/b").result == f"{sandbox.get_work_dir()}/a/b\n"


def test_the_home_directory_is_the_users(sandbox):
    assert sandbox.get_user_home_dir() == "/home/daytona"


def test_a_commands_variables_are_its_own(create):
    sandbox = create(env_vars={"A": "1", "B": "1"})
    value = "it's \"$HOME\" `x` \\ ä\n2"
    result = sandbox.process.exec('printf "%s/%s" "$A" "$B"', env={"B": value})
    assert result.result == f"1/{value}"
    assert sandbox.process.exec("echo $B").result == "1\n"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_commands(sandbox, code):
    result = sandbox.process.exec(f"echo out; exit {code}")
    assert (result.exit_code, result.result) == (code, "out\n")


def test_a_command_that_does_not_exist_is_an_ordinary_failure(sandbox):
    result = sandbox.process.exec("no-such-command-here")
    assert result.exit_code == 127
    assert "no-such-command-here" in result.result and "not found" in result.result


def test_a_command_killed_by_a_signal_says_so_as_shells_do(sandbox):
    assert sandbox.process.exec("sh -c 'kill -KILL $$'; exit $?").exit_code == 137
    # The shell itself has nobody left to translate it.
    assert sandbox.process.exec("kill -KILL $$").exit_code == -1


def test_a_command_that_takes_too_long_is_ended(sandbox):
    started = time.monotonic()
    with pytest.raises(DaytonaProcessExecutionTimeoutError) as raised:
        sandbox.process.exec("echo begun; sleep 300 & sleep 301", timeout=1)
    # The client itself gives up five seconds after the limit, with another error.
    assert 1 <= time.monotonic() - started < 5
    assert isinstance(raised.value, DaytonaTimeoutError)
    assert (raised.value.status_code, raised.value.source) == (408, "DAYTONA_DAEMON")
    assert sandbox.process.exec("pgrep -a sleep").result == "", "what it started must be gone as well"


def test_a_command_within_its_limit_is_not_ended(sandbox):
    assert sandbox.process.exec("sleep 0.2; echo done", timeout=30).result == "done\n"


def test_output_that_is_not_text_arrives_with_replacements(sandbox):
    assert sandbox.process.exec("printf 'a\\377b\\303\\244'").result == "a\N{REPLACEMENT CHARACTER}bä"


def test_long_output_arrives_whole(sandbox):
    result = sandbox.process.exec("seq 1 300000")
    lines = result.result.split("\n")
    assert (lines[0], lines[-2], len(lines)) == ("1", "300000", 300001)


def test_commands_run_side_by_side(sandbox):
    from concurrent.futures import ThreadPoolExecutor

    # Each waits for the next one's file, so that they end only if all run at once.
    command = "touch mark-{0}; until [ -e mark-{1} ]; do sleep 0.01; done; echo {0}"
    with ThreadPoolExecutor(8) as pool:
        run = lambda n: sandbox.process.exec(command.format(n, (n + 1) % 8), timeout=30).result
        assert list(pool.map(run, range(8))) == [f"{n}\n" for n in range(8)]


def test_python_code_is_run_by_default(sandbox):
    result = sandbox.process.code_run("import sys\nprint(sys.version_info.major)\nprint('é', file=sys.stderr)")
    assert (result.exit_code, result.result) == (0, "3\né\n")
    assert result.artifacts.charts == []


PYTHON = """
import os, sys
print(sys.argv[1:])
print(os.environ['A'])
print(repr(sys.stdin.read()))
"""
JAVASCRIPT = """
console.log(JSON.stringify(process.argv.slice(2)));
console.log(process.env.A);
console.log(require('fs').readFileSync(0, 'utf8').length);
"""
TYPESCRIPT = """
import * as fs from 'fs';
const list: string[] = process.argv.slice(2);
console.log(JSON.stringify(list));
console.log(process.env.A as string);
console.log(fs.readFileSync(0, 'utf8').length);
"""


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("python", PYTHON, "['a b', '$HOME', '']\n1'2\n''\n"),
        ("javascript", JAVASCRIPT, '["a b","$HOME",""]\n1\'2\n0\n'),
        ("typescript", TYPESCRIPT, '["a b","$HOME",""]\n1\'2\n0\n'),
    ],
)
def test_code_gets_its_arguments_its_variables_and_no_input(create, language, code, expected):
    sandbox = create(language=language)
    result = sandbox.process.code_run(code, CodeRunParams(argv=["a b", "$HOME", ""], env={"A": "1'2"}))
    assert (result.exit_code, result.result) == (0, expected)


@pytest.mark.parametrize(
    ("language", "code", "exit_code", "said"),
    [
        ("python", "print('before')\nraise ValueError('wrong')", 1, ["before\n", "Traceback", "ValueError: wrong"]),
        ("python", "import sys; sys.exit(3)", 3, []),
        ("python", "def broken(", 1, ["SyntaxError"]),
        ("javascript", "console.log('before'); throw new TypeError('wrong')", 1, ["before\n", "TypeError: wrong"]),
        ("javascript", "process.exit(3)", 3, []),
        ("typescript", "const n: number = 1; throw new TypeError('wrong ' + n)", 1, ["TypeError: wrong 1"]),
        ("typescript", "process.exit(3 as number)", 3, []),
    ],
)
def test_the_failure_of_code_is_told(create, language, code, exit_code, said):
    result = create(language=language).process.code_run(code)
    assert result.exit_code == exit_code
    for text in said:
        assert text in result.result


def test_code_runs_in_the_working_directory(sandbox):
    result = sandbox.process.code_run("import os; print(os.getcwd())")
    assert result.result == f"{sandbox.get_work_dir()}\n"


def test_code_that_takes_too_long_is_ended(sandbox):
    # The client translates no error of this one call, in no language.
    with pytest.raises(ApiException) as raised:
        sandbox.process.code_run("import time; time.sleep(300)", timeout=1)
    assert raised.value.status == 408
    assert "PROCESS_EXECUTION_TIMEOUT" in raised.value.body


def test_the_default_image_has_what_programs_import(sandbox):
    code = "import numpy, pandas, matplotlib; print(int(numpy.arange(4).sum()), len(pandas.DataFrame({'a': [1]})))"
    assert sandbox.process.code_run(code).result == "6 1\n"
