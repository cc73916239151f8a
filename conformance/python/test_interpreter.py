"""Interpreter contexts: code that keeps its state from one run to the next."""

import threading

import pytest
from daytona import DaytonaConnectionError, DaytonaNotFoundError, DaytonaTimeoutError, DaytonaValidationError

from test_async import asynchronous


def test_state_is_kept_and_output_is_streamed(sandbox):
    interpreter = sandbox.code_interpreter
    interpreter.run_code("x = 20\nimport os")
    heard = []
    result = interpreter.run_code(
        "print(x + 1)\nos.system('echo child; echo oops >&2')",
        on_stdout=lambda message: heard.append(message.output),
    )
    assert (result.stdout, result.stderr, result.error) == ("21\nchild\n", "oops\n", None)
    assert "".join(heard) == result.stdout


def test_an_exception_is_an_error_of_the_result(sandbox):
    errors = []
    result = sandbox.code_interpreter.run_code("print('a')\n1/0", on_error=errors.append)
    assert result.stdout == "a\n"
    assert (result.error.name, result.error.value) == ("ZeroDivisionError", "division by zero")
    assert 'File "<stdin>", line 2, in <module>' in result.error.traceback
    assert errors[0].traceback == result.error.traceback


def test_an_execution_has_variables_and_a_time_of_its_own(sandbox):
    interpreter = sandbox.code_interpreter
    code = "import os; print(os.environ.get('A'))"
    assert interpreter.run_code(code, envs={"A": "1 2"}).stdout == "1 2\n"
    assert interpreter.run_code(code).stdout == "None\n"
    interpreter.run_code("kept = 1")
    with pytest.raises(DaytonaTimeoutError):
        interpreter.run_code("while True: pass", timeout=1)
    assert interpreter.run_code("print(kept)").stdout == "1\n"


def test_contexts_are_apart_from_each_other(sandbox):
    interpreter = sandbox.code_interpreter
    interpreter.run_code("x = 'default'")
    context = interpreter.create_context(cwd="/tmp")
    assert (context.language, context.cwd, context.active) == ("python", "/tmp", True)
    assert interpreter.run_code("import os; print(os.getcwd(), 'x' in globals())", context=context).stdout == "/tmp False\n"
    assert [listed.id for listed in interpreter.list_contexts()] == [context.id]
    interpreter.delete_context(context)
    assert interpreter.list_contexts() == []
    with pytest.raises(DaytonaNotFoundError):
        interpreter.delete_context(context)
    with pytest.raises(DaytonaConnectionError, match="context not found"):
        interpreter.run_code("1", context=context)
    with pytest.raises(DaytonaValidationError):
        interpreter.create_context(cwd="/nowhere")
    assert interpreter.run_code("print(x)").stdout == "default\n"


def test_a_dead_interpreter_is_told_and_replaced(sandbox):
    errors = []
    with pytest.raises(DaytonaConnectionError, match="exited with code 3"):
        sandbox.code_interpreter.run_code("import os; os._exit(3)", on_error=errors.append)
    assert errors[0].name == "WorkerDied"
    assert sandbox.code_interpreter.run_code("print('new')").stdout == "new\n"


def test_large_output_arrives_whole(sandbox):
    result = sandbox.code_interpreter.run_code("print('ü' * 3_000_000)")
    assert result.stdout == "ü" * 3_000_000 + "\n"


def test_executions_of_one_context_wait_for_each_other(sandbox):
    interpreter = sandbox.code_interpreter
    is_on = threading.Event()
    code = "import time; print('on', flush=True); time.sleep(1); a = [1]"
    first = threading.Thread(target=interpreter.run_code, args=(code,), kwargs={"on_stdout": lambda _: is_on.set()})
    first.start()
    assert is_on.wait(20)
    assert interpreter.run_code("a.append(2); print(a)").stdout == "[1, 2]\n"
    first.join()


@asynchronous
async def test_the_asynchronous_client_runs_code_as_well(_, sandbox):
    interpreter = sandbox.code_interpreter
    context = await interpreter.create_context()
    await interpreter.run_code("x = 1", context=context)
    result = await interpreter.run_code("print(x); 1/0", context=context)
    assert (result.stdout, result.error.name) == ("1\n", "ZeroDivisionError")
    with pytest.raises(DaytonaTimeoutError):
        await interpreter.run_code("import time; time.sleep(60)", context=context, timeout=1)
    assert (await interpreter.run_code("print(x)", context=context)).stdout == "1\n"
    await interpreter.delete_context(context)
