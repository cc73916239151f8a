// What the newest client does beside commands and files: drives, snapshots that descend from each other, archives and
// terminals.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { client, commandLine, credentials, eventually, unique } from "./support.mjs";

const { Drive, Sandbox, Snapshot } = await client("3.5.0");
const quick = { ...credentials, timeout: 120_000 };

test("a drive is shared by sandboxes, found, and goes when nothing mounts it", async () => {
  const drive = await Drive.getOrCreate({ ...credentials, name: unique("drive") });
  const again = await Drive.getOrCreate({ ...credentials, name: drive.name });
  assert.equal(again.driveId, drive.driveId);
  const one = await Sandbox.create({ ...quick, name: unique("one"), mounts: { "/data": drive } });
  await one.writeFiles([{ path: "/data/note.txt", content: Buffer.from("shared") }]);
  const other = await Sandbox.create({ ...quick, name: unique("other"), mounts: { "/data": { drive: drive.name, mode: "read-write" } } });
  assert.equal(String(await other.readFileToBuffer({ path: "/data/note.txt" })), "shared");
  const reader = await Sandbox.create({ ...quick, name: unique("reader"), mounts: { "/data": { drive: drive.name, mode: "read-only" } } });
  // This client's only word for what is only read.
  assert.equal(reader.mounts["/data"].mode, "snapshot");
  assert.equal(String(await reader.readFileToBuffer({ path: "/data/note.txt" })), "shared");
  const written = await reader.runCommand({ cmd: "sh", args: ["-c", "echo x > /data/note.txt"], sudo: true });
  assert.notEqual(written.exitCode, 0);
  const names = [];
  for await (const each of await Drive.list({ ...credentials, limit: 1 })) names.push(each.name);
  assert.ok(names.includes(drive.name));
  await assert.rejects(drive.delete());
  for (const each of [other, one, reader]) await each.delete();
  await eventually("the drive can go", async () => drive.delete().then(() => true, () => false));
});

test("what a session used is told once it is over, and drives are changed before the next", async () => {
  const drive = await Drive.getOrCreate({ ...credentials, name: unique("later") });
  const sandbox = await Sandbox.create({ ...quick, name: unique("used") });
  await sandbox.runCommand("sh", ["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
  const mounts = { "/data": { drive: drive.name, mode: "read-only" } };
  await assert.rejects(sandbox.update({ mounts }), /stop it first/);
  await sandbox.stop();
  assert.ok(sandbox.activeCpuUsageMs > 50, String(sandbox.activeCpuUsageMs));
  assert.ok(sandbox.networkTransfer.ingress >= 0 && sandbox.networkTransfer.egress >= 0);
  await sandbox.update({ mounts });
  assert.equal(sandbox.totalActiveCpuDurationMs, sandbox.activeCpuUsageMs);
  assert.ok(sandbox.totalDurationMs > 0);
  const options = await sandbox.runCommand("grep", [" /data ", "/proc/self/mountinfo"]);
  assert.match(await options.stdout(), / ro,/);
  await sandbox.delete();
  await eventually("the drive can go", async () => drive.delete().then(() => true, () => false));
});

test("snapshots are a tree", async (t) => {
  const first = await Sandbox.create({ ...quick, name: unique("first") });
  t.after(() => first.delete());
  const root = await first.snapshot();
  const second = await Sandbox.create({ ...quick, name: unique("second"), source: { type: "snapshot", snapshotId: root.snapshotId } });
  t.after(() => second.delete());
  const leaf = await second.snapshot();
  const walk = async (from, sortOrder) => {
    const ids = [];
    for await (const node of await Snapshot.tree({ ...credentials, snapshotId: from.snapshotId, sortOrder })) ids.push(node.snapshot.id);
    return ids;
  };
  assert.deepEqual(await walk(leaf, "desc"), [root.snapshotId]);
  assert.deepEqual(await walk(root, "asc"), [leaf.snapshotId]);
  await leaf.delete();
  await root.delete();
});

/** A folder with a file as an archive, at the one private address that run.sh lets servers ask. */
async function archive(t, content) {
  const folder = mkdtempSync(path.join(tmpdir(), "alcove-archive-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, "served.txt"), content);
  const packed = execFileSync("tar", ["-czC", folder, "served.txt"]);
  const server = createServer((_, answer) => answer.end(packed)).listen(0, "127.0.0.2");
  t.after(() => server.close());
  await new Promise((resolve) => server.on("listening", resolve));
  return `http://127.0.0.2:${server.address().port}/source.tar.gz`;
}

test("a sandbox begins with the files of an archive", async (t) => {
  const url = await archive(t, "from afar");
  const sandbox = await Sandbox.create({ ...quick, name: unique("archive"), source: { type: "tarball", url } });
  t.after(() => sandbox.delete());
  assert.equal(String(await sandbox.readFileToBuffer({ path: "served.txt" })), "from afar");
});

test("a sandbox begins with an image of a registry", async (t) => {
  const sandbox = await Sandbox.create({ ...quick, name: unique("image"), image: process.env.CONFORMANCE_IMAGE });
  t.after(() => sandbox.delete());
  const done = await sandbox.runCommand("busybox", ["echo", "pulled"]);
  assert.equal(await done.stdout(), "pulled\n");
  await assert.rejects(Sandbox.create({ ...quick, name: unique("image"), image: `${process.env.CONFORMANCE_IMAGE}-not` }));
});

test("a sandbox that runs is given more, and less when it does not", async (t) => {
  const sandbox = await Sandbox.create({ ...quick, name: unique("sized"), resources: { vcpus: 2 } });
  t.after(() => sandbox.delete());
  assert.deepEqual([sandbox.vcpus, sandbox.memory], [2, 4096]);
  await sandbox.update({ resources: { vcpus: 4 } });
  const seen = await Sandbox.get({ ...credentials, name: sandbox.name });
  assert.deepEqual([seen.vcpus, seen.memory], [4, 8192]);
  await assert.rejects(sandbox.update({ resources: { vcpus: 3 } }), (error) => /vcpus/.test(error.message));
  await assert.rejects(sandbox.update({ resources: { vcpus: 2 } }), (error) => /stopped/.test(error.message));
  await sandbox.stop();
  await sandbox.update({ resources: { vcpus: 2 } });
  const less = await Sandbox.get({ ...credentials, name: sandbox.name, resume: false });
  assert.deepEqual([less.vcpus, less.memory], [2, 4096]);
});

test("an archive at a private address is not fetched, and nothing is left of the sandbox", async () => {
  const name = unique("archive");
  const made = Sandbox.create({ ...quick, name, source: { type: "tarball", url: "http://127.0.0.1:9/source.tar.gz" } });
  await assert.rejects(made, (error) => /source_not_fetched/.test(JSON.stringify(error.json ?? error) + error.message + error.text));
  await assert.rejects(Sandbox.get({ ...credentials, name, resume: false }));
});

test("a program on a terminal is seen, spoken to, and ends with its status", async (t) => {
  const sandbox = await Sandbox.create({ ...quick, name: unique("terminal") });
  t.after(() => sandbox.delete());
  const words = commandLine("exec", "--interactive", "--tty", sandbox.name, "--", "sh", "-c", "test -t 0 && echo on a terminal; read word; echo heard $word; exit 5");
  // The command line wants a terminal of its own.
  const quoted = words.command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const child = spawn("script", ["--quiet", "--return", "--command", quoted, "/dev/null"], { env: words.env, stdio: ["pipe", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (piece) => (said += piece));
  const ended = new Promise((resolve) => child.on("close", resolve));
  await eventually("the terminal speaks", () => said.includes("on a terminal") || child.exitCode !== null);
  child.stdin.write("this\n");
  await eventually("it is heard", () => said.includes("heard this") || child.exitCode !== null);
  assert.equal(await ended, 5, said);
  assert.match(said, /heard this/);
});
