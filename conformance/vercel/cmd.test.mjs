// The command endpoint by itself: what stands on the wire, for a sandbox that another client has made.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, unique } from "./support.mjs";

const name = unique("wire");
const path = `/v2/sandboxes/sessions/${name}/cmd`;
const run = (body, query = "") => ask("POST", `${path}${query}`, body);
const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

before(async () => {
  const made = await ask("POST", "/api/sandbox", { name });
  assert.equal(made.status, 200, made.text);
});
after(() => ask("DELETE", `/api/sandbox/${name}`));

test("a waited command is a stream that begins, speaks and ends", async () => {
  const body = { command: "sh", args: ["-c", "echo out; echo err >&2; exit 5"], wait: true, logs: true };
  for (const prefix of ["", "/api"]) {
    const answer = await ask("POST", `${prefix}${path}?cmdId=cmd_of_mine&teamId=t`, body);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.type, "application/x-ndjson");
    const all = lines(answer.text);
    const [first, last] = [all[0].command, all.at(-1).command];
    assert.equal(first.exitCode, null);
    assert.equal(last.exitCode, 5);
    assert.equal(first.id, last.id);
    assert.notEqual(first.id, "cmd_of_mine");
    assert.equal(typeof last.durationMs, "number");
    const said = all.slice(1, -1);
    assert.deepEqual(said.find((line) => line.stream === "stdout"), { stream: "stdout", data: "out\n" });
    assert.deepEqual(said.find((line) => line.stream === "stderr"), { stream: "stderr", data: "err\n" });
  }
});

test("a detached command is found, read again, and ended by a signal", async () => {
  const started = (await run({ command: "sh", args: ["-c", "echo on; sleep 300"] })).json().command;
  assert.equal(started.exitCode, null);
  const killed = await ask("POST", `${path}/${started.id}/kill`, { signal: 15 });
  assert.equal(killed.status, 200, killed.text);
  const over = (await ask("GET", `${path}/${started.id}?wait=true`)).json().command;
  assert.equal(over.exitCode, 143);
  const logs = await ask("GET", `${path}/${started.id}/logs`);
  assert.equal(logs.type, "application/x-ndjson");
  assert.ok((await ask("GET", path)).json().commands.some((command) => command.id === started.id));
});

test("environment, folder, root and time limit are held", async () => {
  const said = async (body) => {
    const answer = await run({ ...body, wait: true, logs: true });
    assert.equal(answer.status, 200, answer.text);
    const all = lines(answer.text);
    const text = all.filter((line) => line.stream === "stdout").map((line) => line.data).join("");
    return [text.trim(), all.at(-1).command.exitCode];
  };
  const shell = (script) => ({ command: "sh", args: ["-c", script] });
  assert.deepEqual(await said({ ...shell("echo $A; pwd"), env: { A: "b c" }, cwd: "/tmp" }), ["b c\n/tmp", 0]);
  assert.deepEqual(await said({ ...shell("id -u; echo $HOME; echo $A"), sudo: true, env: { A: "kept" } }), ["0\n/root\nkept", 0]);
  assert.deepEqual(await said({ ...shell("echo before; sleep 300"), timeout: 300 }), ["before", 137]);
});

test("what cannot be run is refused in words that these clients read", async () => {
  for (const [body, code] of [
    [{ command: "no-such-program" }, "executable_not_found"],
    [{}, "bad_request"],
    [{ command: "true", timeout: 1 }, "bad_request"],
  ]) {
    const answer = await run(body);
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.json().error.code, code);
    assert.equal(typeof answer.json().error.message, "string");
  }
  assert.equal((await ask("POST", "/v2/sandboxes/sessions/none/cmd", { command: "true" })).status, 404);
});
