"""A whole program with the asynchronous client."""

import asyncio

from daytona import AsyncDaytona


async def main():
    async with AsyncDaytona() as daytona:
        sandbox = await daytona.create()
        print((await sandbox.process.code_run("print('hello')")).result, flush=True)
        await sandbox.delete()


asyncio.run(main())
print("last line", flush=True)
