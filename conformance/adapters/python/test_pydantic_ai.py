"""`pydantic-ai-daytona`: the capability of Pydantic AI in the quick start of its README. The model is played."""

import pydantic_ai_daytona

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

CALLS = [
    ("run_command", {"command": "echo out; echo err >&2; exit 3"}, ["out", "err", "3"]),
    ("write_file", {"path": "/tmp/new/primes.py", "content": "print([2, 3, 5, 7])\n"}, []),
    ("run_command", {"command": "python3 /tmp/new/primes.py"}, ["[2, 3, 5, 7]"]),
    ("read_file", {"path": "/tmp/new/primes.py"}, ["print"]),
    ("list_directory", {"path": "/tmp/new"}, ["primes.py"]),
    ("run_command", {"command": "echo before; sleep 60", "timeout_seconds": 1}, ["before", "timed out"]),
]


def test_the_quick_start():
    answers = []

    def played(messages, _):
        answers[:] = [
            part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)
        ]
        if len(answers) < len(CALLS):
            name, arguments, _ = CALLS[len(answers)]
            return ModelResponse(parts=[ToolCallPart(name, arguments)])
        return ModelResponse(parts=[TextPart("done")])

    agent = Agent(FunctionModel(played), capabilities=[pydantic_ai_daytona.DaytonaSandbox()])
    result = agent.run_sync("Write a Python script that prints the first primes and run it.")
    assert result.output == "done"
    for answer, (name, _, wanted) in zip(answers, CALLS, strict=True):
        for text in wanted:
            assert text in str(answer.content), (name, answer.content)
