// What the tests share: the server, the clients, and names that nobody else has.
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

export const server = process.env.DAYTONA_API_URL.replace(/\/api\/?$/, "");
export const credentials = {
  token: process.env.DAYTONA_API_KEY,
  teamId: "team_conformance",
  projectId: "prj_conformance",
};

process.env.ALCOVE_URL = server;
await import("../../clients/vercel/preload.mjs");

// The oldest one is CommonJS.
const require = createRequire(import.meta.url);
export async function client(release) {
  const name = `sandbox-${release}`;
  return release.startsWith("0.") ? require(name) : await import(name);
}

/** The vendor's command line with these words, and its variables. */
export function commandLine(command, ...rest) {
  return commandLineWithin(["--scope", credentials.teamId, "--project", credentials.projectId], command, ...rest);
}

/** The same where the words for team and project are these. */
export function commandLineWithin(where, command, ...rest) {
  const cli = path.join(path.dirname(require.resolve("sandbox/package.json")), "bin/sandbox.mjs");
  const preload = new URL("../../clients/vercel/preload.mjs", import.meta.url).href;
  const scope = ["--token", credentials.token, ...where];
  return {
    command: [process.execPath, "--import", preload, cli, command, ...scope, ...rest],
    env: { ...process.env, ALCOVE_URL: server, SANDBOX_SKIP_VERSION_CHECK: "1", CI: "1", NO_COLOR: "1" },
  };
}

export function unique(word) {
  return `${word}-${randomBytes(4).toString("hex")}`;
}

/** Asks the server itself, as no client would. */
export async function ask(method, path, body) {
  const answer = await fetch(`${server}${path}`, {
    method,
    headers: { authorization: `Bearer ${credentials.token}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, type: answer.headers.get("content-type"), text, json: () => JSON.parse(text) };
}

/** Waits until something is so, at most so long. */
export async function eventually(what, isSo, milliseconds = 60_000) {
  const end = Date.now() + milliseconds;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
