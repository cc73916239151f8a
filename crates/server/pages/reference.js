// Shows the OpenAPI document of this server, and lets one try its operations with a key of one's own. The key stays in this page.
const message = document.getElementById("message");
const list = document.getElementById("operations");

// Everything that is shown is put in as text, never as markup.
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function resolve(api, value) {
  const reference = value?.$ref;
  if (!reference) return value ?? {};
  return reference.slice(2).split("/").reduce((part, key) => part?.[key], api) ?? {};
}

function typeOf(api, schema, depth = 0) {
  const name = schema?.$ref?.split("/").pop();
  const seen = resolve(api, schema);
  if (seen.oneOf) return seen.oneOf.map((it) => typeOf(api, it, depth)).join(" | ");
  if (seen.type === "array") return `array of ${typeOf(api, seen.items, depth)}`;
  return name ?? [seen.type ?? "any"].flat().join(" | ");
}

function fields(api, schema, depth = 0) {
  const seen = resolve(api, schema);
  const inner = seen.oneOf?.find((it) => it.type !== "null") ?? (seen.type === "array" ? seen.items : undefined);
  if (inner) return fields(api, inner, depth);
  if (!seen.properties) return make("p", { className: "quiet" }, typeOf(api, schema));
  const rows = Object.entries(seen.properties).map(([name, property]) => {
    const isNested = depth < 2 && (property.$ref || property.items?.$ref || property.oneOf);
    const about = make("td", {}, property.description ?? "");
    if (isNested) {
      const more = make("details", {}, make("summary", {}, "fields"));
      more.addEventListener("toggle", () => {
        if (more.children.length === 1) more.append(fields(api, property, depth + 1));
      });
      about.append(more);
    }
    return make("tr", {},
      make("td", {}, make("code", {}, name), seen.required?.includes(name) ? " *" : ""),
      make("td", {}, typeOf(api, property)), about);
  });
  return make("table", {}, ...rows);
}

function bodyOf(api, content) {
  const kinds = Object.entries(content ?? {});
  return kinds.map(([kind, { schema }]) => make("div", {},
    make("p", {}, make("code", {}, kind), ` ${typeOf(api, schema)}`), fields(api, schema)));
}

function trial(api, method, path, operation) {
  const parameters = operation.parameters ?? [];
  const inputs = parameters.filter((it) => it.in !== "header").map((it) => {
    const input = make("input", { type: "text", name: it.name, placeholder: it.in });
    return { it, input, label: make("label", {}, it.name, input) };
  });
  const body = operation.requestBody ? make("textarea", { rows: 5, value: "{}" }) : undefined;
  const result = make("pre");
  const go = make("button", { type: "button" }, "Send");
  go.addEventListener("click", async () => {
    const key = document.getElementById("key").value;
    const query = new URLSearchParams();
    let to = path;
    for (const { it, input } of inputs) {
      if (it.in === "path") to = to.replace(`{${it.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.append(it.name, input.value);
    }
    const tail = query.size ? `?${query}` : "";
    try {
      const answer = await fetch(`..${to}${tail}`, {
        method: method.toUpperCase(),
        headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
        body: body?.value,
      });
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is no JSON. */ }
      result.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
    } catch (error) {
      result.textContent = error.message;
    }
  });
  return make("details", {}, make("summary", {}, "Try it"), ...inputs.map((it) => it.label), ...(body ? [body] : []),
    make("p", {}, go), result);
}

function operation(api, path, method, it) {
  const box = make("details", { id: it.operationId },
    make("summary", {}, make("span", { className: "method" }, method), " ", make("code", {}, path), " ",
      make("span", { className: "quiet" }, it.summary ?? "")));
  box.dataset.text = `${method} ${path} ${it.operationId} ${it.summary ?? ""} ${it.description ?? ""}`.toLowerCase();
  box.addEventListener("toggle", () => {
    if (box.children.length > 1) return;
    const parameters = (it.parameters ?? []).map((parameter) => make("tr", {},
      make("td", {}, make("code", {}, parameter.name), parameter.required ? " *" : ""),
      make("td", {}, `${parameter.in}, ${typeOf(api, parameter.schema)}`),
      make("td", {}, parameter.description ?? "")));
    box.append(make("p", {}, it.description ?? it.summary ?? ""), make("p", { className: "quiet" }, it.operationId));
    if (parameters.length) box.append(make("h3", {}, "Parameters"), make("table", {}, ...parameters));
    if (it.requestBody) box.append(make("h3", {}, "Body"), ...bodyOf(api, it.requestBody.content));
    for (const [status, answer] of Object.entries(it.responses ?? {})) {
      box.append(make("h3", {}, `${status} `, make("span", { className: "quiet" }, answer.description ?? "")),
        ...bodyOf(api, answer.content));
    }
    box.append(trial(api, method, path, it));
  });
  return box;
}

async function show() {
  const api = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description ?? "";
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, it] of Object.entries(methods)) {
      const tag = it.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(api, path, method, it));
    }
  }
  const key = make("input", { type: "text", id: "key", autocomplete: "off", placeholder: "dtn_…" });
  list.append(make("label", {}, "API key, for trying operations", key));
  for (const [tag, boxes] of groups) list.append(make("section", {}, make("h2", {}, tag), ...boxes));
  const named = document.getElementById(location.hash.slice(1));
  if (named) { named.open = true; named.scrollIntoView(); }
}

document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of list.querySelectorAll("section")) {
    let count = 0;
    for (const box of section.querySelectorAll(":scope > details")) {
      box.hidden = !words.every((word) => box.dataset.text.includes(word));
      count += box.hidden ? 0 : 1;
    }
    section.hidden = count === 0;
  }
});

show().catch((error) => { message.textContent = error.message; });
