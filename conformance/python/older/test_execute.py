"""Commands and source text.

These clients wrap both in shell text of their own, so what is tested is that the server runs that text as it is. They
differ in whether the last newline comes back: 0.25 and 0.110 add one, 0.140 takes it away.
"""

import time

import pytest
from conftest import MINOR
from daytona import ChartType, CodeRunParams, DaytonaError


def text(result):
    return result.result.removesuffix("\n")


def test_a_command_is_run_by_a_shell(sandbox):
    result = sandbox.process.exec("printf 'a\\nb\\n' | grep b && echo \"$((1 + 1))\"; echo \"c  'd'\"; exit 3")
    assert (result.exit_code, text(result)) == (3, "b\n2\nc  'd'")
    assert result.artifacts.stdout == result.result


def test_both_streams_come_back_in_order(sandbox):
    result = sandbox.process.exec("echo one; echo two >&2; echo three")
    assert text(result) == "one\ntwo\nthree"


def test_a_command_runs_where_it_is_told(sandbox):
    assert text(sandbox.process.exec("pwd", cwd="/tmp")) == "/tmp"
    home = sandbox.get_user_root_dir() if MINOR < 103 else sandbox.get_work_dir()
    assert text(sandbox.process.exec("pwd")) == home


# Before 0.156 the client puts values into the text of a shell without quoting them.
VALUE = "one" if MINOR < 156 else "it's \"$HOME\" `x` \\ ä"


def test_a_commands_variables_are_its_own(sandbox):
    assert text(sandbox.process.exec('printf "%s\\n" "$B"', env={"B": VALUE})) == VALUE
    assert text(sandbox.process.exec("echo [$B]")) == "[]"


def test_a_command_that_takes_too_long_is_ended(sandbox):
    started = time.monotonic()
    with pytest.raises(DaytonaError, match="(?i)timeout"):
        sandbox.process.exec("sleep 300", timeout=1)
    assert 1 <= time.monotonic() - started < 5


def test_long_output_arrives_whole(sandbox):
    assert text(sandbox.process.exec("seq 1 100000")) == "\n".join(str(n) for n in range(1, 100001))


PYTHON = """
import os, sys
print(sys.argv[1:])
print(os.environ['A'])
"""
JAVASCRIPT = """
console.log(process.argv.slice(-2).join(' '));
console.log(process.env.A);
"""
TYPESCRIPT = """
const list: string[] = process.argv.slice(-2);
console.log(list.join(' '));
console.log(process.env.A as string);
"""


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("python", PYTHON, "['one', 'two']\n"),
        ("javascript", JAVASCRIPT, "one two\n"),
        ("typescript", TYPESCRIPT, "one two\n"),
    ],
)
def test_code_gets_its_arguments_and_its_variables(create, language, code, expected):
    sandbox = create(language=language)
    result = sandbox.process.code_run(code, CodeRunParams(argv=["one", "two"], env={"A": VALUE}))
    assert (result.exit_code, text(result)) == (0, f"{expected}{VALUE}"), result.result


def test_the_failure_of_code_is_told(sandbox):
    result = sandbox.process.code_run("print('before')\nraise ValueError('wrong')")
    assert result.exit_code == 1
    assert "before\n" in result.result and "ValueError: wrong" in result.result


CHART = """
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [4, 5, 6], label='rising')
plt.title('A line')
plt.xlabel('x')
plt.show()
print('drawn')
"""


def test_a_chart_is_taken_out_of_the_output(sandbox):
    result = sandbox.process.code_run(CHART)
    assert result.exit_code == 0, result.result
    assert text(result) == "drawn"
    (chart,) = result.artifacts.charts
    assert (chart.title, chart.x_label, chart.type) == ("A line", "x", ChartType.LINE)
    assert chart.elements[0].label == "rising" and chart.png
