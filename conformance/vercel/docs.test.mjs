// The programs of docs/vercel.md, as they stand there.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ask, credentials, server, unique } from "./support.mjs";

const page = await readFile(new URL("../../docs/vercel.md", import.meta.url), "utf8");
// What is set apart: lines that begin with blanks, and the empty ones between them.
const programs = page.match(/(?<=\n\n)(?: +.*\n|\n(?= ))+/g);

function program(word) {
  const found = programs.filter((text) => text.includes(word));
  assert.equal(found.length, 1, `one program with ${word}`);
  return found[0].replace(/^ +/gm, "").replaceAll('"@vercel/sandbox"', '"sandbox-3.5.0"');
}

/** Runs it as a file of its own and gives what it says. */
async function said(t, text, ...options) {
  // Packages are looked for beside the file.
  const file = fileURLToPath(new URL(`./${unique("docs")}.mjs`, import.meta.url));
  await writeFile(file, text);
  t.after(() => rm(file));
  const env = { ...process.env, ALCOVE_URL: server, DAYTONA_API_KEY: credentials.token };
  const { stdout } = await promisify(execFile)(process.execPath, [...options, file], { env, timeout: 120_000 });
  return stdout;
}

test("the first program runs a command with the preload file", async (t) => {
  t.after(async () => {
    const { sandboxes } = (await ask("GET", "/api/v2/sandboxes?project=trial")).json();
    for (const { name } of sandboxes) await ask("DELETE", `/api/v2/sandboxes/${name}?projectId=trial`);
  });
  const preload = new URL("../../clients/vercel/preload.mjs", import.meta.url).href;
  assert.equal(await said(t, program("console.log(6 * 7)"), "--import", preload), "0 42\n\n");
});

test("the option `fetch` leads a client here", async (t) => {
  const names = `const { token, teamId, projectId } = ${JSON.stringify(credentials)};\n`;
  const text = program("fetch: here").replace("http://127.0.0.1:3000", server).replace("await Sandbox", "const made = await Sandbox");
  const whole = `import { Sandbox } from "sandbox-3.5.0";\n${names}${text}console.log(made.status);\nawait made.delete();\n`;
  assert.equal(await said(t, whole), "running\n");
});
