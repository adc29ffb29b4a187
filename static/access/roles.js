// Shows who would gain and lose what, as soon as a permission is ticked.

const form = document.querySelector("[data-role-form]");
const changes = form.querySelector('[data-part="changes"]');
let asked = null;

async function show() {
  asked?.abort();
  asked = new AbortController();
  const body = new FormData(form);
  body.delete("password");
  try {
    const answer = await fetch(location.href, {
      method: "POST",
      body,
      signal: asked.signal,
      credentials: "same-origin",
      headers: { "Aerolith-Fragment": "1" },
    });
    if (!answer.ok) return;
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    changes.replaceChildren(...parsed.body.childNodes);
  } catch {
    // Another tick came first, or the portal is away: the button asks again.
  }
}

form.addEventListener("change", (event) => {
  if (event.target.name === "permissions") show();
});
