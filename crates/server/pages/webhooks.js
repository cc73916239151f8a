// Manages the endpoints of one organization with the token that the page was opened with. The token is behind `#`, so no
// server is told of it but in the header of the requests here.
const asked = new URLSearchParams(location.hash.slice(1));
const token = asked.get("token") ?? "";
const base = `organizations/${encodeURIComponent(asked.get("organization") ?? "")}`;
const message = document.getElementById("message");

// Everything that is shown is put in as text, never as markup.
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

async function call(method, path, body) {
  const answer = await fetch(`${base}/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : undefined;
  if (!answer.ok) throw new Error([value?.message ?? answer.statusText].flat().join(", "));
  return value;
}

function act(label, work) {
  return make("button", { type: "button", onclick: () => attempt(work) }, label);
}

async function attempt(work) {
  message.textContent = "";
  try {
    const said = await work();
    await show();
    message.textContent = said ?? "";
  } catch (error) {
    message.textContent = error.message;
  }
}

function tries(list) {
  const rows = list.map((it) => make("tr", {},
    make("td", {}, it.timestamp),
    make("td", {}, make("code", {}, it.messageId)),
    make("td", { className: it.status === "success" ? "good" : "bad" }, `${it.responseStatusCode ?? it.error}`),
    make("td", {}, `${it.responseDurationMs} ms`)));
  return make("table", {}, ...rows);
}

function endpoint(it) {
  const place = `endpoints/${it.id}`;
  const past = make("div");
  const state = it.disabled ? `disabled ${it.disabledAt} ${it.disabledReason ?? ""}` : "enabled";
  const hourAgo = () => new Date(Date.now() - 3600e3).toISOString();
  return make("details", {},
    make("summary", {}, make("code", {}, it.url), " ", make("span", { className: it.disabled ? "bad" : "good" }, state)),
    make("p", {}, it.description),
    make("p", { className: "quiet" }, it.eventTypes.length ? it.eventTypes.join(", ") : "all events"),
    act(it.disabled ? "Enable" : "Disable", () => call("PATCH", place, { disabled: !it.disabled }).then(() => undefined)),
    act("Show secret", async () => (await call("GET", `${place}/secret`)).secret),
    act("New secret", async () => (await call("POST", `${place}/secret/rotate`)).secret),
    act("Send what was missed in the last hour", async () => {
      const { messages } = await call("POST", `${place}/replay`, { since: hourAgo() });
      return `${messages} messages`;
    }),
    make("button", { type: "button", onclick: async () => {
      try { past.replaceChildren(tries(await call("GET", `${place}/attempts`))); }
      catch (error) { message.textContent = error.message; }
    } }, "Attempts"),
    act("Delete", () => call("DELETE", place)),
    past);
}

async function show() {
  const endpoints = await call("GET", "endpoints");
  document.getElementById("endpoints").replaceChildren(
    ...(endpoints.length ? endpoints.map(endpoint) : [make("p", { className: "quiet" }, "There is no endpoint yet.")]));
  const messages = await call("GET", "messages");
  document.getElementById("messages").replaceChildren(...messages.slice(0, 50).map((it) => make("details", {},
    make("summary", {}, make("code", {}, it.id), ` ${it.eventType} `, make("span", { className: "quiet" }, it.createdAt)),
    make("pre", {}, JSON.stringify(it.payload, null, 2)))));
}

const form = document.getElementById("add");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = form.events.value.split(",").map((word) => word.trim()).filter(Boolean);
  attempt(async () => {
    const made = await call("POST", "endpoints", {
      url: form.url.value, description: form.description.value, eventTypes: words,
    });
    form.reset();
    return `Its secret is ${made.secret}`;
  });
});

attempt(async () => undefined);
