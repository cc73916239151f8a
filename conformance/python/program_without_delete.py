"""A program that leaves its sandbox running: an open event subscription must not keep the process."""

from daytona import Daytona

sandbox = Daytona().create()
print(sandbox.process.code_run("print('hello')").result)
print(sandbox.id)
print("last line", flush=True)
