// Sends what the unmodified package `@vercel/sandbox`, or its command line `sandbox`, asks of its vendor to a server of
// your own:
//
//   export ALCOVE_URL=http://127.0.0.1:3000
//   node --import /path/to/preload.mjs program.mjs        or  NODE_OPTIONS=--import=/path/to/preload.mjs
//
// The package has no setting for that. It asks by the global `fetch`, which is replaced here for two hosts, and for one address
// of your own; with another host name in its place, a request is the same.
const VENDORS = ["https://vercel.com/api/", "https://api.vercel.com/"];
const target = process.env.ALCOVE_URL?.replace(/\/+$/, "");
if (!target) {
  throw new Error("preload.mjs: set ALCOVE_URL to your server, such as http://127.0.0.1:3000");
}

// Before it opens a terminal, the command line asks how the host of the terminal is: there is one port for it, and one path.
const health = `https://${new URL(target).hostname}/health`;

const inner = globalThis.fetch;

function redirected(url) {
  if (url === health) return `${target}/api/health`;
  const vendor = VENDORS.find((vendor) => url.startsWith(vendor));
  return vendor === undefined ? url : `${target}/api/${url.slice(vendor.length)}`;
}

globalThis.fetch = function fetch(input, init) {
  if (typeof input === "string" || input instanceof URL) {
    return inner(redirected(String(input)), init);
  }
  const url = redirected(input.url);
  return url === input.url ? inner(input, init) : inner(new Request(url, input), init);
};
