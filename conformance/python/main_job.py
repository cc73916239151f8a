"""The first program of a user. Run by test_programs.py, as it is, in a process of its own."""

from daytona import CreateSandboxFromSnapshotParams, Daytona, SessionExecuteRequest

daytona = Daytona()
sandbox = daytona.create(CreateSandboxFromSnapshotParams(language="python", env_vars={"A": "1"}, labels={"k": "v"}))
print(sandbox.process.exec("echo $A; id; pwd", timeout=10).result)
print(sandbox.process.code_run("import sys; print(sys.version)").result)
sandbox.fs.upload_file(b"x" * 10_000_000, "data.bin"); assert len(sandbox.fs.download_file("data.bin")) == 10_000_000
sandbox.process.create_session("s")
print(sandbox.process.execute_session_command("s", SessionExecuteRequest(command="cd /tmp; B=2; echo sync")).stdout)
command = sandbox.process.execute_session_command("s", SessionExecuteRequest(command="echo $B in $PWD", run_async=True))
while sandbox.process.get_session_command("s", command.cmd_id).exit_code is None:
    pass
print(sandbox.process.get_session_command_logs("s", command.cmd_id).stdout)
sandbox.stop(); sandbox.start()
print(sandbox.process.exec("stat -c %s data.bin").result)
daytona.delete(sandbox)
print("last line", flush=True)
