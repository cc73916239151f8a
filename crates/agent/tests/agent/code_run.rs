//! Runs of source text. Charts of the real matplotlib are tested by `conformance`, in the default image.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{TestAgent, is_running};

async fn run(agent: &TestAgent, request: Value) -> Value {
    agent
        .post("/process/code-run", &request)
        .await
        .expect(200)
        .json()
}

/// The output of a run that is expected to end well.
async fn output(agent: &TestAgent, request: Value) -> String {
    let answer = run(agent, request).await;
    assert_eq!(answer["exitCode"], 0, "{answer}");
    answer["result"].as_str().unwrap().to_owned()
}

const HARD_ARGUMENTS: [&str; 5] = ["a b", "c\"d", "$(x)", "", "-v"];

#[tokio::test]
async fn python_gets_its_arguments_and_variables_as_they_are() {
    let agent = TestAgent::start().await;
    let code = "import sys, os\nprint(sys.argv, os.environ['A'])\nsys.exit(3)";
    let request =
        json!({ "code": code, "language": "python", "argv": HARD_ARGUMENTS, "envs": { "A": "1" } });
    let wanted = "['-', 'a b', 'c\"d', '$(x)', '', '-v'] 1\n";
    assert_eq!(
        run(&agent, request).await,
        json!({ "exitCode": 3, "result": wanted })
    );
    let code = "try:\n  input()\nexcept EOFError:\n  print('eof')\n1/0";
    let answer = run(&agent, json!({ "code": code, "language": "python" })).await;
    let result = answer["result"].as_str().unwrap();
    assert_eq!(answer["exitCode"], 1);
    assert!(
        result.starts_with("eof\n") && result.contains("File \"<stdin>\", line 5"),
        "{result}"
    );
}

#[tokio::test]
async fn javascript_gets_its_arguments_and_its_own_line_numbers() {
    let agent = TestAgent::start().await;
    let code = "console.log(JSON.stringify(process.argv.slice(2)), process.env.A)\nprocess.exit(4)";
    let request = json!({ "code": code, "language": "javascript", "argv": HARD_ARGUMENTS, "envs": { "A": "1" } });
    let wanted = "[\"a b\",\"c\\\"d\",\"$(x)\",\"\",\"-v\"] 1\n";
    assert_eq!(
        run(&agent, request).await,
        json!({ "exitCode": 4, "result": wanted })
    );
    let answer = run(
        &agent,
        json!({ "code": "\nnull.x", "language": "javascript" }),
    )
    .await;
    assert!(
        answer["result"].as_str().unwrap().contains("[stdin]:2"),
        "{answer}"
    );
}

/// A program on a search path of its own that says how it was called.
fn fake_program(agent: &TestAgent, folder: &str, name: &str, script: &str) -> String {
    let folder = agent.dir.path().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/bin:/usr/bin", folder.display())
}

#[tokio::test]
async fn typescript_is_run_by_what_the_sandbox_has_and_nothing_is_fetched() {
    let agent = TestAgent::start().await;
    let with_path = |path: &str| json!({ "code": "let x: number = 1", "language": "typescript", "argv": ["a b"], "envs": { "PATH": path } });
    let script = "for last; do :; done; for file; do case $file in *.ts) cat $file;; esac; done; echo; echo \"$0 $last\"";
    let global = fake_program(&agent, "bin", "ts-node", script);
    let result = output(&agent, with_path(&global)).await;
    assert_eq!(
        result,
        format!("let x: number = 1\n{} a b\n", agent.path("bin/ts-node"))
    );
    // What the project has comes first.
    fake_program(&agent, "node_modules/.bin", "tsx", script);
    let nothing = agent.path("empty");
    let result = output(&agent, with_path(&format!("{nothing}:/bin"))).await;
    assert!(result.contains("node_modules/.bin/tsx"), "{result}");
    std::fs::remove_dir_all(agent.path("node_modules")).unwrap();
    // An npx that is there is not asked, and a Node.js that is too old is as good as none.
    let npx = fake_program(&agent, "npx", "npx", "echo fetched");
    fake_program(&agent, "npx", "node", "echo bad option; exit 9");
    for path in [npx.split(':').next().unwrap(), &nothing] {
        let answer = run(&agent, with_path(path)).await;
        assert_eq!(answer["exitCode"], 127, "{answer}");
        assert!(
            answer["result"]
                .as_str()
                .unwrap()
                .contains("TypeScript needs ts-node"),
            "{answer}"
        );
    }
    let left = std::fs::read_dir("/tmp").unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| {
            // By its name first: a pipe of somebody else's would never be read to its end.
            entry.file_name().to_string_lossy().starts_with("dtn_")
                && std::fs::read_to_string(entry.path()).unwrap_or_default() == "let x: number = 1"
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn bad_requests_and_missing_programs_are_told_apart() {
    let agent = TestAgent::start().await;
    for (request, code) in [
        (json!({ "code": "x", "language": "cobol" }), "BAD_REQUEST"),
        (
            json!({ "code": "x", "language": "python", "envs": { "A-B": "1" } }),
            "BAD_REQUEST",
        ),
        (json!({ "code": "x" }), "INVALID_REQUEST_BODY"),
        (json!({ "language": "python" }), "INVALID_REQUEST_BODY"),
        (
            json!({ "code": "x", "language": "python", "argv": "a" }),
            "INVALID_REQUEST_BODY",
        ),
    ] {
        let answer = agent
            .post("/process/code-run", &request)
            .await
            .expect(400)
            .json();
        assert_eq!(answer["code"], code, "{request}");
    }
    for (code, language) in [
        ("1", "python"),
        ("import matplotlib", "python"),
        ("1", "javascript"),
        ("1", "typescript"),
    ] {
        let request = json!({ "code": code, "language": language, "envs": { "PATH": "/nowhere" } });
        let answer = run(&agent, request).await;
        assert_eq!(answer["exitCode"], 127, "{answer}");
        assert!(
            answer["result"]
                .as_str()
                .unwrap()
                .contains("not found in this sandbox"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_killed_with_all_it_started() {
    let agent = TestAgent::start().await;
    let code = "import subprocess, time; print('x', flush=True); subprocess.Popen(['setsid', 'sleep', '2811']); time.sleep(60)";
    let slow = json!({ "code": code, "language": "python", "timeout": 1 });
    let start = Instant::now();
    let answer = agent
        .post("/process/code-run", &slow)
        .await
        .expect(408)
        .json();
    assert_eq!(answer["result"], "x\n");
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(!is_running("2811"));
}

/// A library of that name with the little that the hook looks at: what matters here is the way of a chart to the
/// answer, and that nothing which fails on it is seen by the program.
fn fake_matplotlib(agent: &TestAgent, figure: &str) {
    let folder = agent.dir.path().join("matplotlib");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("__init__.py"), "").unwrap();
    std::fs::write(
        folder.join("axes.py"),
        "class Axes:\n    def bxp(self): pass\n",
    )
    .unwrap();
    let pyplot = format!(
        "class Axes:\n    def has_data(self): return False\n\
         class Figure:\n{figure}\n\
         open_figures = {{1: Figure()}}\n\
         def get_fignums(): return list(open_figures)\n\
         def figure(number): return open_figures[number]\n\
         def close(which): open_figures.clear()\n\
         def show(): print('shown')\n"
    );
    std::fs::write(folder.join("pyplot.py"), pyplot).unwrap();
}

#[tokio::test]
async fn charts_come_beside_the_output_and_not_in_it() {
    let agent = TestAgent::start().await;
    fake_matplotlib(
        &agent,
        "    axes = [Axes()]\n    def savefig(self, file, **options): file.write(b'png')",
    );
    let code = "import sys, matplotlib.pyplot as plt\nplt.show()\nprint(len(plt.get_fignums()))\n\
                print('dtn_artifact_k39fd2:{}')\nplt.show()\nprint(sys.argv, __name__)";
    let request = json!({ "code": code, "language": "python", "argv": ["a b", "$(x)"] });
    let answer = run(&agent, request).await;
    let result = "shown\n0\ndtn_artifact_k39fd2:{}\nshown\n['-', 'a b', '$(x)'] __main__\n";
    assert_eq!(answer["result"], result);
    let charts = answer["artifacts"]["charts"].as_array().unwrap();
    assert_eq!(charts.len(), 1, "{answer}");
    assert_eq!(
        (&charts[0]["type"], &charts[0]["png"]),
        (&json!("unknown"), &json!("cG5n"))
    );
}

#[tokio::test]
async fn a_chart_that_cannot_be_described_does_not_fail_the_program() {
    let agent = TestAgent::start().await;
    fake_matplotlib(
        &agent,
        "    @property\n    def axes(self): raise SystemError('broken')",
    );
    let code = "from matplotlib import pyplot\npyplot.show()\nprint('fine')";
    let answer = run(&agent, json!({ "code": code, "language": "python" })).await;
    assert_eq!(answer, json!({ "exitCode": 0, "result": "shown\nfine\n" }));
    // Nor does what the program itself writes to the descriptor.
    let code = "import os, matplotlib\nos.write(3, b'\\xff' * 100)\nos.ftruncate(3, 1 << 40)\nprint('fine')";
    let answer = run(&agent, json!({ "code": code, "language": "python" })).await;
    assert_eq!(answer, json!({ "exitCode": 0, "result": "fine\n" }));
}

#[tokio::test]
async fn a_drawing_program_fails_and_exits_like_any_other() {
    let agent = TestAgent::start().await;
    fake_matplotlib(&agent, "    axes = []");
    let python = |code: &str| run(&agent, json!({ "code": code, "language": "python" }));
    let answer = python("import matplotlib\ndef f():\n    raise ValueError('x')\nf()").await;
    let traceback = "Traceback (most recent call last):\n  File \"<target_code>\", line 3, in f\n    \
                     raise ValueError('x')\nValueError: x\n";
    assert_eq!(answer, json!({ "exitCode": 1, "result": traceback }));
    let answer = python("import matplotlib\nx ===").await;
    let result = answer["result"].as_str().unwrap();
    assert!(
        result.contains("File \"<target_code>\", line 2") && !result.contains("hook"),
        "{result}"
    );
    assert_eq!(
        python("import matplotlib, sys\nsys.exit(5)").await["exitCode"],
        5
    );
    let answer = python("import matplotlib, os\nos.system('ls /proc/self/fd | wc -l')").await;
    assert_eq!(answer["result"], "4\n");
}
