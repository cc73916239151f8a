const element = (id) => document.getElementById(id);
const token = location.hash.slice(1);
// Neither the history nor who looks over a shoulder needs it any longer.
history.replaceState(null, "", location.pathname);

const tell = (text) => {
  element("outcome").textContent = text;
};

const ask = (path, body) =>
  fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

let offer = null;

const look = async () => {
  const answer = await ask("/api/auth/invitation", { token });
  const told = await answer.json();
  if (!answer.ok) {
    tell(told.message);
    return;
  }
  offer = told;
  element("offer").textContent =
    `${offer.invitedBy} invites ${offer.email} to ${offer.organizationName}, as ${offer.role}.`;
  if (offer.needsAccount) {
    // Who is known to have the address signs in by it.
    element("by-name").hidden = offer.provesEmail;
    element("username").required = !offer.provesEmail;
    element("password").required = true;
    element("again").required = true;
  } else {
    element("account").remove();
  }
  element("form").hidden = false;
};

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token };
  if (offer.needsAccount) {
    body.password = element("password").value;
    if (body.password !== element("again").value) {
      tell("The two passwords are not the same.");
      return;
    }
    for (const field of ["name", "username"]) {
      const value = element(field).value.trim();
      if (value !== "") {
        body[field] = value;
      }
    }
  }
  element("send").disabled = true;
  try {
    const answer = await ask("/api/auth/invitation/accept", body);
    const told = await answer.json();
    if (answer.ok) {
      element("form").remove();
      tell(`You are a member now. You sign in as ${told.username}.`);
      return;
    }
    tell(told.message);
  } catch {
    tell("The server does not answer. Try again.");
  }
  element("send").disabled = false;
});

if (token === "") {
  tell("This link is not complete.");
} else {
  look().catch(() => tell("The server does not answer. Try again."));
}
