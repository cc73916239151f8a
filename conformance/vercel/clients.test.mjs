// The clients from 2.9 on, unmodified, through the preload file.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, client, credentials, eventually, unique } from "./support.mjs";

for (const release of ["2.9.2", "3.1.0", "3.5.0"]) {
  const { Sandbox, Snapshot } = await client(release);

  test(`${release}: commands, files and their ends`, async (t) => {
    const sandbox = await Sandbox.create({ ...credentials, name: unique("box"), env: { FROM: "create" }, ports: [3000], timeout: 120_000, tags: { suite: release } });
    t.after(() => sandbox.delete());
    assert.equal(sandbox.status, "running");
    assert.equal(sandbox.routes[0].port, 3000);
    assert.match(sandbox.routes[0].url, /^https?:\/\/3000-/);

    const done = await sandbox.runCommand("sh", ["-c", "echo $FROM; echo err >&2; exit 3"]);
    assert.equal(done.exitCode, 3);
    assert.equal(await done.stdout(), "create\n");
    assert.equal(await done.stderr(), "err\n");
    assert.equal((await sandbox.runCommand({ cmd: "id", args: ["-u"], sudo: true })).exitCode, 0);

    const detached = await sandbox.runCommand({ cmd: "sh", args: ["-c", "echo on; sleep 300"], detached: true });
    for await (const line of detached.logs()) {
      assert.deepEqual([line.stream, line.data], ["stdout", "on\n"]);
      break;
    }
    await detached.kill("SIGKILL");
    assert.equal((await detached.wait()).exitCode, 137);

    await sandbox.mkDir("made");
    await assert.rejects(sandbox.mkDir("made"));
    const name = `${"long-".repeat(30)}\u00e9.txt`;
    await sandbox.writeFiles([
      { path: "made/a.txt", content: Buffer.from("hello") },
      { path: `made/${name}`, content: Buffer.from("long") },
      { path: "/tmp/run.sh", content: Buffer.from("#!/bin/sh\necho ran"), mode: 0o755 },
    ]);
    assert.equal(String(await sandbox.readFileToBuffer({ path: "made/a.txt" })), "hello");
    assert.equal(String(await sandbox.readFileToBuffer({ path: `made/${name}` })), "long");
    assert.equal(await sandbox.readFileToBuffer({ path: "made/none" }), null);
    assert.equal(await (await sandbox.runCommand("/tmp/run.sh")).stdout(), "ran\n");
    await assert.rejects(sandbox.runCommand("no-such-program"));
  });

  test(`${release}: a persistent sandbox ends, comes back with its files, and is found`, async (t) => {
    const name = unique("kept");
    const sandbox = await Sandbox.getOrCreate({ ...credentials, name, timeout: 120_000 });
    t.after(() => sandbox.delete());
    const first = sandbox.currentSession().sessionId;
    await sandbox.writeFiles([{ path: "kept.txt", content: Buffer.from("kept") }]);
    await sandbox.extendTimeout(60_000);
    assert.equal(sandbox.currentSession().timeout, 180_000);
    await sandbox.stop();
    assert.equal((await Sandbox.get({ ...credentials, name, resume: false })).status, "stopped");
    // The client finds the session over, and begins another by itself.
    assert.equal(await (await sandbox.runCommand("cat", ["kept.txt"])).stdout(), "kept");
    assert.notEqual(sandbox.currentSession().sessionId, first);
    const again = await Sandbox.getOrCreate({ ...credentials, name });
    assert.equal(again.currentSession().sessionId, sandbox.currentSession().sessionId);
    await sandbox.update({ tags: { a: "b" }, networkPolicy: "deny-all" });
    const found = await Sandbox.get({ ...credentials, name });
    assert.deepEqual(found.tags, { a: "b" });
    assert.equal(found.networkPolicy, "deny-all");
    const listed = [];
    for await (const one of await Sandbox.list({ ...credentials, limit: 1 })) listed.push(one.name);
    assert.ok(listed.includes(name));
  });

  test(`${release}: a snapshot ends the session and begins others`, async (t) => {
    const sandbox = await Sandbox.create({ ...credentials, name: unique("snap"), timeout: 120_000 });
    t.after(() => sandbox.delete());
    await sandbox.writeFiles([{ path: "made.txt", content: Buffer.from("made") }]);
    const snapshot = await sandbox.snapshot();
    t.after(() => snapshot.delete());
    assert.equal(snapshot.status, "created");
    assert.equal((await Snapshot.get({ ...credentials, snapshotId: snapshot.snapshotId })).snapshotId, snapshot.snapshotId);
    const other = await Sandbox.create({ ...credentials, name: unique("from"), timeout: 120_000, source: { type: "snapshot", snapshotId: snapshot.snapshotId } });
    t.after(() => other.delete());
    assert.equal(String(await other.readFileToBuffer({ path: "made.txt" })), "made");
    const fork = await Sandbox.fork({ ...credentials, sourceSandbox: other.name, name: unique("fork") });
    t.after(() => fork.delete());
    assert.equal(String(await fork.readFileToBuffer({ path: "made.txt" })), "made");
  });
}

test("a session ends at its time, and what is not persistent does not come back", async (t) => {
  const { Sandbox } = await client("3.5.0");
  const name = unique("short");
  const sandbox = await Sandbox.create({ ...credentials, name, timeout: 2000, persistent: false });
  t.after(() => ask("DELETE", `/v2/sandboxes/${name}`));
  await eventually("it has stopped", async () => {
    return (await Sandbox.get({ ...credentials, name, resume: false })).status === "stopped";
  });
  await assert.rejects(sandbox.runCommand("true"));
  const anew = await Sandbox.getOrCreate({ ...credentials, name, timeout: 60_000, resume: true });
  assert.equal((await anew.runCommand("true")).exitCode, 0);
});

test("what this server does not have is refused with its reason", async () => {
  const { Sandbox } = await client("3.5.0");
  for (const more of [
    { failoverRegions: ["sfo1"] },
    { networkPolicy: { allow: { "a.com": [{ transform: [{ headers: { a: "b" } }] }] } } },
    { mounts: { "/data": { drive: "any", mode: "snapshot" } } },
  ]) {
    await assert.rejects(Sandbox.create({ ...credentials, ...more }), /Status code 400 is not ok: .*not/);
  }
});
