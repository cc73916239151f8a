// The container of clients/vercel/Dockerfile, built as it stands there, and the unmodified client in it: it finds the server
// by the vendor's name and a certificate that the container trusts.
//
// Nothing else on the machine may know the name, so it is known in the container alone. There is no network for the build: what
// stands in `FROM` is the default image of the conformance suite, which has Node.js too.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ask, credentials, server, unique } from "./support.mjs";

const recipe = fileURLToPath(new URL("../../clients/vercel/Dockerfile", import.meta.url));
const preload = fileURLToPath(new URL("../../clients/vercel/preload.mjs", import.meta.url));
const packages = realpathSync(new URL("./node_modules", import.meta.url));
// An address of this machine where nothing else listens on the port of TLS.
const ADDRESS = "127.0.0.3";

function sh(folder, command) {
  execFileSync("sh", ["-euc", command], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
}

/** An authority, and a certificate for the vendor's name that it has signed. */
function certificates(folder) {
  const subject = (name) => `-subj /CN=${name} -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2`;
  sh(folder, `openssl req -x509 ${subject("authority")} -keyout authority.key -out ca.pem`);
  sh(folder, `openssl req ${subject("vercel.com").replace("-days 2", "")} -keyout vercel.key -out vercel.csr`);
  writeFileSync(path.join(folder, "names"), "subjectAltName=DNS:vercel.com\n");
  sh(folder, "openssl x509 -req -in vercel.csr -CA ca.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out vercel.pem");
  const read = (name) => readFileSync(path.join(folder, name));
  return { cert: read("vercel.pem"), key: read("vercel.key") };
}

/** What stands before the server as its operator's proxy would. Gives the hosts that it was asked for. */
async function proxy(t, keys) {
  const hosts = new Set();
  const target = new URL(server);
  const front = createServer(keys, (asked, answer) => {
    hosts.add(asked.headers.host);
    const { method, headers, url } = asked;
    const inner = request({ host: target.hostname, port: target.port, method, headers, path: url }, (told) => {
      answer.writeHead(told.statusCode, told.headers);
      told.pipe(answer);
    });
    inner.on("error", () => answer.destroy());
    asked.pipe(inner);
  });
  await new Promise((resolve, reject) => front.once("error", reject).listen(443, ADDRESS, resolve));
  t.after(() => {
    front.closeAllConnections();
    front.close();
  });
  return hosts;
}

/** A store of images of its own, with the container's image in it. */
function builder(t, folder) {
  const store = ["--root", path.join(folder, "root"), "--runroot", path.join(folder, "run"), "--storage-driver", "overlay"];
  const run = (words, options = {}) => promisify(execFile)("buildah", [...store, ...words], { maxBuffer: 1 << 24, ...options });
  writeFileSync(path.join(folder, "policy.json"), '{"default": [{"type": "insecureAcceptAnything"}]}');
  t.after(async () => {
    await run(["rm", "--all"]).catch(() => undefined);
    // It mounts this on itself, and leaves it so.
    await promisify(execFile)("umount", [path.join(folder, "root/overlay")]).catch(() => undefined);
    rmSync(folder, { recursive: true, force: true });
  });
  return run;
}

test("the container's recipe builds, and the client in it finds the server by name and certificate", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "alcove-container-"));
  const buildah = builder(t, folder);
  const hosts = await proxy(t, certificates(folder));
  const policy = ["--signature-policy", path.join(folder, "policy.json")];
  const { stdout: id } = await buildah(["pull", "--quiet", ...policy, `oci-archive:${process.env.ALCOVE_DEFAULT_IMAGE}`]);
  const [, base] = readFileSync(recipe, "utf8").match(/^FROM (\S+)$/m);
  await buildah(["tag", id.trim(), `docker.io/library/${base}`]);
  copyFileSync(recipe, path.join(folder, "Dockerfile"));
  const context = path.join(folder, "context");
  sh(folder, "mkdir context && cp ca.pem context");
  const image = unique("localhost/vercel-client");
  const isolated = ["--isolation", "chroot"];
  const file = ["--file", path.join(folder, "Dockerfile"), "--pull-never", "--build-arg", "PROXY_CA=ca.pem"];
  await buildah(["bud", "--quiet", ...policy, ...isolated, ...file, "--tag", image, context]);
  const { stdout: container } = await buildah(["from", "--quiet", "--pull-never", ...policy, "--add-host", `vercel.com:${ADDRESS}`, image]);
  const program = path.join(folder, "program.mjs");
  writeFileSync(
    program,
    `import { Sandbox } from "sandbox-3.5.0";
const sandbox = await Sandbox.create(${JSON.stringify({ ...credentials, timeout: 60_000 })});
const done = await sandbox.runCommand("echo", ["from", "a", "container"]);
console.log(done.exitCode, (await done.stdout()).trim());
await sandbox.delete();
`,
  );
  const volumes = ["--volume", `${packages}:/app/node_modules:ro`, "--volume", `${program}:/app/program.mjs:ro`];
  const run = (...words) => buildah(["run", ...isolated, "--user", "root", ...volumes, container.trim(), "--", ...words], { timeout: 120_000 });
  const { stdout } = await run("node", "/app/program.mjs");
  assert.equal(stdout, "0 from a container\n");
  assert.deepEqual([...hosts], ["vercel.com"]);
});

test("a program in a sandbox loads the preload file and asks where it says, not the vendor", async (t) => {
  const made = await ask("POST", "/api/v3/sandboxes", { projectId: credentials.projectId, name: unique("preload"), ports: [] });
  const { session, sandbox } = made.json();
  t.after(() => ask("DELETE", `/api/v2/sandboxes/${sandbox.name}?projectId=${credentials.projectId}`));
  const place = `/api/v2/sandboxes/sessions/${session.id}`;
  const text = readFileSync(preload, "utf8");
  const heard = `import { createServer } from "node:http";
const paths = [];
const there = createServer((asked, answer) => { paths.push(asked.url); answer.end("{}"); }).listen(0, "127.0.0.1", async () => {
  process.env.ALCOVE_URL = \`http://127.0.0.1:\${there.address().port}/\`;
  await import("./preload.mjs");
  await fetch("https://vercel.com/api/v2/sandboxes?teamId=t");
  await fetch(new Request("https://api.vercel.com/v2/user"));
  console.log(JSON.stringify(paths));
  there.close();
});
`;
  const script = `cat > preload.mjs <<'END'\n${text}END\ncat > heard.mjs <<'END'\n${heard}END\nnode heard.mjs; ALCOVE_URL= node --import ./preload.mjs -e 1 2>&1 | grep -q 'set ALCOVE_URL' && echo told`;
  const run = await ask("POST", `${place}/cmd`, { command: "bash", args: ["-c", script], wait: true, logs: true });
  const lines = run.text.trim().split("\n").map((line) => JSON.parse(line));
  const out = lines.filter((line) => line.stream === "stdout").map((line) => line.data).join("");
  assert.equal(out, '["/api/v2/sandboxes?teamId=t","/api/v2/user"]\ntold\n', run.text);
});
