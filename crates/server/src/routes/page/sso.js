const query = new URLSearchParams(location.search);
// Neither the history nor who looks over a shoulder needs it any longer.
history.replaceState(null, "", location.pathname);

const tell = (text) => {
  document.getElementById("outcome").textContent = text;
};

const ask = async (path, body) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) {
    tell(told.message);
    return null;
  }
  return told;
};

try {
  if (query.has("state")) {
    const body = { state: query.get("state"), code: query.get("code") };
    const session = await ask("/api/auth/sso/arrive", body);
    if (session !== null) {
      tell(`You are signed in as ${session.user.name}.`);
    }
  } else if (query.has("provider")) {
    const departure = await ask("/api/auth/sso/depart", { provider: query.get("provider") });
    if (departure !== null) {
      location.assign(departure.url);
    }
  } else {
    tell("This link is not complete.");
  }
} catch {
  tell("The server does not answer. Try again.");
}
