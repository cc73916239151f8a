const element = (id) => document.getElementById(id);
const token = location.hash.slice(1);
// Neither the history nor who looks over a shoulder needs it any longer.
history.replaceState(null, "", location.pathname);

const tell = (text) => {
  element("outcome").textContent = text;
};

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = element("password").value;
  if (password !== element("again").value) {
    tell("The two are not the same.");
    return;
  }
  element("send").disabled = true;
  try {
    const answer = await fetch("/api/auth/set-password", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, password }),
    });
    if (answer.ok) {
      element("form").remove();
      tell("The password is set. You can sign in with it.");
      return;
    }
    tell((await answer.json()).message);
  } catch {
    tell("The server does not answer. Try again.");
  }
  element("send").disabled = false;
});

if (token === "") {
  element("form").remove();
  tell("This link is not complete.");
}
