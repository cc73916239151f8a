"""`harbor`: a task of its own with a Dockerfile, solved by its oracle, in its Daytona environment. No model takes part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "task.toml": """version = "1.0"

[metadata]

[verifier]
timeout_sec = 120.0

[agent]
timeout_sec = 120.0

[environment]
build_timeout_sec = 300.0
cpus = 1
memory_mb = 1024
storage_mb = 2048
""",
    "instruction.md": "Write 42 into /app/answer.\n",
    # Harbor acts as root by bash, which the tiny image does not have.
    "environment/Dockerfile": f"""FROM {os.environ["CONFORMANCE_IMAGE"]}
USER root
RUN printf '#!/bin/sh\\nexec /bin/sh "$@"\\n' > /bin/bash && chmod 755 /bin/bash
WORKDIR /app
COPY given.txt /app/given.txt
""",
    "environment/given.txt": "given\n",
    "solution/solve.sh": "#!/bin/sh\ntest -f /app/given.txt && echo 42 > /app/answer\n",
    "tests/test.sh": "#!/bin/sh\nif [ \"$(cat /app/answer)\" = 42 ]; then r=1; else r=0; fi\necho $r > /logs/verifier/reward.txt\n",
}


@pytest.mark.timeout(280)
def test_a_task_is_built_solved_and_judged(tmp_path):
    task = tmp_path / "answer"
    for name, content in FILES.items():
        file = task / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        if name.endswith(".sh"):
            file.chmod(0o755)
    command = [Path(sys.executable).with_name("harbor"), "run", "--path", task, "--agent", "oracle", "--env", "daytona"]
    command += ["--jobs-dir", tmp_path / "jobs", "--n-concurrent", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=270, cwd=tmp_path, stdin=subprocess.DEVNULL)
    results = [json.loads(file.read_text()) for file in (tmp_path / "jobs").glob("*/*/result.json")]
    assert ran.returncode == 0 and results, ran.stdout[-4000:] + ran.stderr[-4000:]
    [result] = results
    assert result["exception_info"] is None, result["exception_info"]
    assert result["verifier_result"]["rewards"]["reward"] == 1, result
