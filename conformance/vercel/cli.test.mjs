// The vendor's command line, unmodified.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { ask, commandLine, commandLineWithin, unique } from "./support.mjs";

function sandbox(...words) {
  return said(commandLine(...words));
}

function said({ command, env }) {
  const child = spawn(command[0], command.slice(1), { env, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 });
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

test("without a scope it finds the organization of the key and a project", async () => {
  const name = unique("unscoped");
  const made = await said(commandLineWithin([], "create", "--name", name, "--timeout", "2m"));
  assert.equal(made.code, 0, made.err + made.out);
  const found = await ask("GET", `/v2/sandboxes/${name}?projectId=vercel-sandbox-default-project`);
  assert.equal(found.status, 200, found.text);
  const removed = await said(commandLineWithin([], "remove", name));
  assert.equal(removed.code, 0, removed.err);
});
