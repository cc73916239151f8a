// The vendor's command line, unmodified.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { credentials, server, unique } from "./support.mjs";

const require = createRequire(import.meta.url);
const cli = path.join(path.dirname(require.resolve("sandbox/package.json")), "bin/sandbox.mjs");
const preload = new URL("../../clients/vercel/preload.mjs", import.meta.url).href;

function sandbox(...words) {
  const scope = ["--token", credentials.token, "--scope", credentials.teamId, "--project", credentials.projectId];
  const [command, ...rest] = words;
  const child = spawn(process.execPath, ["--import", preload, cli, command, ...scope, ...rest], {
    env: { ...process.env, ALCOVE_URL: server, SANDBOX_SKIP_VERSION_CHECK: "1", CI: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  const said = { out: "", err: "" };
  child.stdout.on("data", (piece) => (said.out += piece));
  child.stderr.on("data", (piece) => (said.err += piece));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, ...said })));
}

test("create, exec, list, stop and remove", async () => {
  const name = unique("cli");
  const made = await sandbox("create", "--name", name, "--timeout", "2m");
  assert.equal(made.code, 0, made.err + made.out);
  const ran = await sandbox("exec", name, "--", "sh", "-c", "echo said; exit 7");
  assert.match(ran.out, /said/, ran.err);
  assert.equal(ran.code, 7, ran.err);
  const listed = await sandbox("list");
  assert.match(listed.out, new RegExp(name), listed.err);
  const stopped = await sandbox("stop", name);
  assert.equal(stopped.code, 0, stopped.err);
  const removed = await sandbox("remove", name);
  assert.equal(removed.code, 0, removed.err);
});
