// The clients before 2, unmodified: a sandbox is its session, and is gone with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { client, credentials, eventually } from "./support.mjs";

async function text(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

for (const release of ["0.0.24", "1.10.2"]) {
  const { Sandbox } = await client(release);

  test(`${release}: create, commands, files, stop`, async () => {
    const sandbox = await Sandbox.create({ ...credentials, timeout: 120_000, ports: [3000], runtime: "node22" });
    assert.equal(sandbox.status, "running");
    const done = await sandbox.runCommand("sh", ["-c", "echo out; echo err >&2; exit 4"]);
    assert.equal(done.exitCode, 4);
    assert.equal(await done.stdout(), "out\n");
    assert.equal(await done.stderr(), "err\n");
    const detached = await sandbox.runCommand({ cmd: "sleep", args: ["300"], detached: true });
    await detached.kill("SIGTERM");
    assert.equal((await detached.wait()).exitCode, 143);
    await sandbox.mkDir("made");
    await sandbox.writeFiles([{ path: "made/a.txt", content: Buffer.from("hello") }]);
    assert.equal(await text(await sandbox.readFile({ path: "made/a.txt" })), "hello");
    assert.equal(await sandbox.readFile({ path: "none" }), null);
    await sandbox.extendTimeout(30_000);
    assert.equal(sandbox.timeout, 150_000);
    const { json } = await Sandbox.list({ ...credentials, limit: 50 });
    assert.ok(json.sandboxes.some((one) => one.id === sandbox.sandboxId));
    await sandbox.stop();
    await eventually("it has stopped", async () => {
      return (await Sandbox.get({ ...credentials, sandboxId: sandbox.sandboxId })).status === "stopped";
    });
    await assert.rejects(sandbox.runCommand("true"));
  });
}

test("1.10.2: snapshots and policies", async (t) => {
  const { Sandbox, Snapshot } = await client("1.10.2");
  const sandbox = await Sandbox.create({ ...credentials, timeout: 120_000 });
  await sandbox.updateNetworkPolicy("deny-all");
  assert.equal(sandbox.networkPolicy, "deny-all");
  const snapshot = await sandbox.snapshot();
  t.after(() => snapshot.delete());
  const found = await Snapshot.get({ ...credentials, snapshotId: snapshot.snapshotId });
  assert.equal(found.snapshotId, snapshot.snapshotId);
});
