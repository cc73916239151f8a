//! Contexts of JavaScript. Those of TypeScript need what the default image has, see `conformance`.

use serde_json::json;

use super::{create, request};
use crate::support::TestAgent;

#[tokio::test]
async fn javascript_keeps_its_declarations_and_awaits_at_the_top() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({ "language": "javascript" })).await;
    let js = |code: &str| {
        request(
            &agent,
            json!({ "code": code, "contextId": id, "timeout": 20 }),
        )
    };
    js("const x = 1; let y = 2; class A { z = 3 }; console.log('set')")
        .await
        .expect_stdout("set\n");
    js("const x = await Promise.resolve(40); console.log(x + y, new A().z)")
        .await
        .expect_stdout("42 3\n");
    js("import { join as j } from 'node:path';\nimport fs, * as all from 'fs'\nconsole.log(j('a', 'b'), typeof fs.statSync, typeof all.statSync)")
        .await
        .expect_stdout("a/b function function\n");
    js("const os = await import('node:os'); console.log(typeof os.cpus, j('c', 'd'), require('path').sep)")
        .await
        .expect_stdout("function c/d /\n");
    let heard = js("function f() {\n  null.x\n}\n\nf()").await;
    assert_eq!(heard.error()["name"], "TypeError");
    let traceback = heard.error()["traceback"].as_str().unwrap();
    assert!(
        traceback.ends_with("    at f (<stdin>:2:8)\n    at <stdin>:5:1\n"),
        "{traceback}"
    );
    assert_eq!(js("x ===").await.error()["name"], "SyntaxError");
    js("process.exit(1)").await.expect_stdout("");
    let heard = request(
        &agent,
        json!({ "code": "console.log(process.env.Q)", "contextId": id, "envs": { "Q": "q" } }),
    )
    .await;
    heard.expect_stdout("q\n");
    js("console.log(process.env.Q, x)")
        .await
        .expect_stdout("undefined 40\n");
    js("require('child_process').execSync('echo child; ls /proc/self/fd | wc -l', { stdio: 'inherit' })")
        .await
        .expect_stdout("child\n4\n");
    js("console.log('y'.repeat(3 << 20))")
        .await
        .expect_stdout(&format!("{}\n", "y".repeat(3 << 20)));
    let heard = js("setTimeout(() => { throw new Error('late') }, 1); await new Promise((r) => setTimeout(r, 50))").await;
    assert!(
        heard.stderr.contains("late") && heard.control == ["completed"],
        "{heard:?}"
    );
}

#[tokio::test]
async fn javascript_without_end_is_interrupted_and_keeps_its_state() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({ "language": "javascript" })).await;
    for code in ["const x = 7; while (true);", "await new Promise(() => {})"] {
        let heard = request(
            &agent,
            json!({ "code": code, "contextId": id, "timeout": 1 }),
        )
        .await;
        assert_eq!((heard.code, heard.control.len()), (4008, 0), "{heard:?}");
    }
    request(&agent, json!({ "code": "console.log(x)", "contextId": id }))
        .await
        .expect_stdout("7\n");
    let heard = request(
        &agent,
        json!({ "code": "process.kill(process.pid, 'SIGKILL')", "contextId": id }),
    )
    .await;
    assert_eq!(heard.code, 1011);
    request(
        &agent,
        json!({ "code": "console.log(typeof x)", "contextId": id }),
    )
    .await
    .expect_stdout("undefined\n");
}
