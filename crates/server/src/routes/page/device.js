const element = (id) => document.getElementById(id);
const forms = ["sign-in", "look", "decide"];
element("user-code").value = location.hash.slice(1);
// Neither the history nor who looks over a shoulder needs it any longer.
history.replaceState(null, "", location.pathname);

let csrfToken = "";

const tell = (text) => {
  element("outcome").textContent = text;
};

const show = (wanted) => {
  for (const form of forms) element(form).hidden = form !== wanted;
};

const ask = async (method, path, body, headers = {}) => {
  const answer = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrfToken, ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  return { ok: answer.ok, json: text === "" ? {} : JSON.parse(text) };
};

const on = (id, event, work) => {
  element(id).addEventListener(event, async (happened) => {
    happened.preventDefault();
    tell("");
    try {
      await work();
    } catch {
      tell("The server does not answer. Try again.");
    }
  });
};

const begin = async (session) => {
  csrfToken = session.csrfToken;
  const organizations = await ask("GET", "/api/organizations");
  for (const { id, name } of organizations.json) {
    element("organization").add(new Option(name, id));
  }
  show("look");
};

on("sign-in", "submit", async () => {
  const code = element("code").value.trim();
  const signedIn = await ask("POST", "/api/auth/sign-in", {
    username: element("username").value,
    password: element("password").value,
    ...(code === "" ? {} : { code }),
  });
  if (signedIn.ok) {
    element("password").value = "";
    await begin(signedIn.json);
    return;
  }
  if (signedIn.json.code === "TOTP_REQUIRED") element("code-line").hidden = false;
  tell(signedIn.json.message);
});

on("look", "submit", async () => {
  const code = encodeURIComponent(element("user-code").value.trim());
  const found = await ask("GET", `/api/auth/device/${code}`);
  if (!found.ok) {
    tell(found.json.message);
    return;
  }
  const { clientId, deviceName, address, beganAt } = found.json;
  const from = [deviceName && `on ${deviceName}`, address && `from ${address}`].filter(Boolean);
  element("what").textContent =
    `A program that calls itself “${clientId}” ${from.join(", ")} asked at ${new Date(beganAt).toLocaleString()}.`;
  show("decide");
});

const decide = (approve) => async () => {
  const decided = await ask(
    "POST",
    "/api/auth/device/confirm",
    { userCode: element("user-code").value, approve },
    { "X-Daytona-Organization-ID": element("organization").value },
  );
  if (!decided.ok) {
    tell(decided.json.message);
    return;
  }
  show("");
  tell(approve ? "It is let in. You can close this page." : "It is refused.");
};

on("decide", "submit", decide(true));
on("deny", "click", decide(false));

const session = await fetch("/api/auth/session");
if (session.ok) {
  await begin(await session.json());
} else {
  show("sign-in");
}
