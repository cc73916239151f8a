"""The asynchronous client: its transfers and its streams are code of their own."""

import asyncio

from conftest import MINOR
from daytona import AsyncDaytona, SessionExecuteRequest


def test_the_asynchronous_client_works_as_a_whole(unique):
    async def program():
        async with AsyncDaytona() as daytona:
            sandbox = await daytona.create()
            try:
                assert (await sandbox.process.exec("echo hello")).result.strip() == "hello"
                assert (await sandbox.process.code_run("print(1 + 1)")).result.strip() == "2"

                path = f"/tmp/{unique}"
                await sandbox.fs.upload_file(b"content", path)
                assert await sandbox.fs.download_file(path) == b"content"

                process = sandbox.process
                await process.create_session("work")
                request = SessionExecuteRequest(command="echo out; echo err >&2", run_async=True)
                answer = await process.execute_session_command("work", request)
                seen = [""] if MINOR < 27 else ["", ""]

                def taker(stream):
                    def take(piece):
                        seen[stream] += piece

                    return take

                takers = [taker(stream) for stream in range(len(seen))]
                await process.get_session_command_logs_async("work", answer.cmd_id, *takers)
                assert sorted("".join(seen).split()) == ["err", "out"]
                assert len(seen) == 1 or seen == ["out\n", "err\n"]
            finally:
                await daytona.delete(sandbox)

    asyncio.run(program())
