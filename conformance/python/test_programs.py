"""Whole programs: they say what they should and end by themselves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# After its last line a program has nothing to wait for.
END_SECONDS = 5


def run(program):
    """Runs a program to its end and returns its output."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "last line\n":
                break
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{program} does not end within {END_SECONDS} s after its last line")
        assert process.returncode == 0, f"{''.join(lines)}{process.stderr.read()}"
        return "".join(lines)
    finally:
        process.kill()
        process.communicate()


def test_the_main_job_word_for_word():
    output = run("main_job.py")
    expected = (
        r"1\nuid=\d+\(daytona\) gid=\d+\(daytona\).*\n/home/daytona\n\n"
        r"3\.\d+.*\n\n"
        r"sync\n\n2 in /tmp\n\n"
        r"10000000\n\nlast line\n"
    )
    assert re.fullmatch(expected, output), output


def test_an_asynchronous_program_ends():
    assert run("program_async.py") == "hello\n\nlast line\n"


def test_a_program_that_leaves_its_sandbox_running_ends(daytona):
    hello, _, sandbox_id, last, _ = run("program_without_delete.py").split("\n")
    assert (hello, last) == ("hello", "last line")
    sandbox = daytona.get(sandbox_id)
    assert sandbox.state == "started"
    daytona.delete(sandbox)
