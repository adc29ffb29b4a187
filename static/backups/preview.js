// Has a state compared with that of now without leaving the page, and shows how far it is.

const POLL_MS = 1000;
const root = document.querySelector("[data-preview]");

async function show(request) {
  try {
    const answer = await request;
    if (answer.ok) replace(await answer.text());
  } catch {
    // The portal is away for a moment: the next look will tell.
  }
  // Not answered, or refused: it can be asked for again.
  root.querySelector("[data-preview-form] button")?.removeAttribute("disabled");
  if (isOpen()) setTimeout(() => show(fetch(root.dataset.url, { credentials: "same-origin" })), POLL_MS);
}

const isOpen = () => Boolean(root.querySelector("[data-preview-fragment]").dataset.open);

function replace(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  root.replaceChildren(...parsed.body.childNodes);
  document.dispatchEvent(new CustomEvent("aerolith:fragment"));
}

root.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-preview-form]");
  if (!form) return;
  event.preventDefault();
  form.querySelector("button").disabled = true;
  const asked = { method: "POST", body: new FormData(form), credentials: "same-origin" };
  show(fetch(form.action, { ...asked, headers: { "Aerolith-Fragment": "1" } }));
});

if (isOpen()) show(fetch(root.dataset.url, { credentials: "same-origin" }));
