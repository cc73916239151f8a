// The terminal of a sandbox in a browser.
//
// The terminal itself lives in the sandbox under a name, which stands in the address behind '#'. The page counts the bytes
// of output that it has shown; when its connection breaks it asks for what came after them, and when it is loaded again,
// for all that is kept. What is typed without a connection goes out with the next one.

import { Terminal } from "./xterm.mjs";
import { FitAddon } from "./addon-fit.mjs";

const RETRY_FIRST_MS = 250;
const RETRY_LAST_MS = 5000;
const TYPED_MAX = 64 * 1024;

const name = decodeURIComponent(location.hash.slice(1)) || "web-" + Math.random().toString(36).slice(2, 10);
history.replaceState(null, "", "#" + encodeURIComponent(name));

// A signed URL stands in the host; a token in the query is for whom the browser keeps no cookie.
const query = new URLSearchParams(location.search);
function address(path, parameters = {}) {
  const url = new URL(path, location.href);
  url.search = new URLSearchParams({ ...Object.fromEntries(query), ...parameters });
  url.hash = "";
  return url;
}

const terminal = new Terminal({ cursorBlink: true, scrollback: 10000 });
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(document.getElementById("terminal"));
fit.fit();
terminal.focus();
// For those who test the page.
window.terminal = terminal;

const state = document.getElementById("state");
function show(text) {
  state.textContent = text;
  state.hidden = !text;
}

let socket = null;
let cursor = 0;
let typed = [];
let typedLength = 0;
let retryMs = RETRY_FIRST_MS;
let hasEnded = false;

function type(text) {
  if (hasEnded) {
    hasEnded = false;
    connect();
    return;
  }
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(text);
  } else if (typedLength + text.length <= TYPED_MAX) {
    typed.push(text);
    typedLength += text.length;
  }
}
terminal.onData(type);
terminal.onBinary((text) => type(Uint8Array.from(text, (character) => character.charCodeAt(0))));

function size() {
  return { cols: Math.min(terminal.cols, 1000), rows: Math.min(terminal.rows, 1000) };
}

async function post(path, body) {
  return fetch(address(path), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

// The newest size wins: one request at a time.
let resizing = null;
let isResizeDue = false;
async function resize() {
  if (resizing) {
    isResizeDue = true;
    return;
  }
  do {
    isResizeDue = false;
    resizing = post(`./process/pty/${encodeURIComponent(name)}/resize`, size()).catch(() => {});
    await resizing;
  } while (isResizeDue);
  resizing = null;
}
terminal.onResize(resize);
new ResizeObserver(() => fit.fit()).observe(document.getElementById("terminal"));

async function connect() {
  let made;
  try {
    made = await post("./process/pty", { id: name, ...size() });
  } catch {
    return retry("No connection");
  }
  if (made.status === 201) {
    // Another one under the name: the sandbox was started again, or the shell ended while nobody looked.
    if (cursor > 0) terminal.write("\r\n\x1b[2m[new shell]\x1b[0m\r\n");
    cursor = 0;
  } else if (made.status !== 409) {
    const body = await made.json().catch(() => ({}));
    return retry(body.message || `Status ${made.status}`);
  }
  const url = address(`./process/pty/${encodeURIComponent(name)}/connect`, { from: cursor });
  url.protocol = url.protocol.replace("http", "ws");
  let reason = "";
  const opened = new WebSocket(url, ["X-Daytona-Pty-Exit-Control"]);
  opened.binaryType = "arraybuffer";
  opened.onmessage = ({ data }) => {
    if (typeof data !== "string") {
      cursor += data.byteLength;
      terminal.write(new Uint8Array(data));
      return;
    }
    const control = JSON.parse(data);
    if (control.status === "connected") {
      retryMs = RETRY_FIRST_MS;
      show("");
      if (made.status === 409) resize();
      for (const text of typed.splice(0)) opened.send(text);
      typedLength = 0;
    } else if (control.status === "lagged") {
      if (cursor > 0) terminal.write("\r\n\x1b[2m[output is missing here]\x1b[0m\r\n");
      cursor += control.droppedBytes;
    } else if (control.status === "exited") {
      hasEnded = true;
      terminal.write(`\r\n\x1b[2m[the shell ended with ${control.exitCode}; press a key for a new one]\x1b[0m\r\n`);
    } else if (control.status === "error") {
      reason = control.error;
    }
  };
  opened.onclose = () => {
    socket = null;
    if (!hasEnded) retry(reason || "Connection lost");
  };
  socket = opened;
}

function retry(why) {
  show(`${why}; trying again…`);
  setTimeout(connect, retryMs);
  retryMs = Math.min(retryMs * 2, RETRY_LAST_MS);
}

addEventListener("online", () => socket === null && !hasEnded && show("Connecting…"));
connect();
