"""`daytona-adk`: the plugin of Google's ADK in the quick start of its README. The model is played, all else is theirs."""

import asyncio

import daytona_adk

from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

# What a model would ask for, one after the other, and what must come back.
CALLS = [
    ("execute_code_in_daytona", {"code": "print('Hello from Daytona!')", "language": "python"}, "Hello from Daytona!"),
    ("execute_command_in_daytona", {"command": "echo $((6 * 7))"}, "42"),
    ("upload_file_to_daytona", {"file_path": "/tmp/a.txt", "content": "kept"}, "/tmp/a.txt"),
    ("read_file_from_daytona", {"file_path": "/tmp/a.txt"}, "kept"),
]


class Played(BaseLlm):
    async def generate_content_async(self, llm_request, stream=False):
        answered = sum(
            1 for content in llm_request.contents for part in content.parts if part.function_response is not None
        )
        if answered < len(CALLS):
            name, arguments, _ = CALLS[answered]
            part = types.Part(function_call=types.FunctionCall(name=name, args=arguments))
        else:
            part = types.Part(text="done")
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def test_the_quick_start():
    async def run():
        plugin = daytona_adk.DaytonaPlugin()
        agent = Agent(model=Played(model="played"), name="agent_with_sandbox", tools=plugin.get_tools())
        async with InMemoryRunner(app_name="my_app", agent=agent, plugins=[plugin]) as runner:
            return await runner.run_debug("Execute this Python code: print('Hello from Daytona!')")

    events = asyncio.run(run())
    answers = [
        part.function_response
        for event in events
        for part in (event.content.parts if event.content else [])
        if part.function_response is not None
    ]
    assert [answer.name for answer in answers] == [name for name, _, _ in CALLS]
    for answer, (name, _, wanted) in zip(answers, CALLS, strict=True):
        assert wanted in str(answer.response), (name, answer.response)
