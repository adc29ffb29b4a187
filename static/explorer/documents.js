// Deleting with undo, formatting and checking JSON, and running a query from the keyboard.

const token = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";
const UNDO_MS = 10000;

async function post(url, body) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "X-CSRFToken": token(), Accept: "application/json", "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(value.detail || `The request failed (${answer.status}).`);
  return value;
}

function notify(text, { action, onAction, tone = "secondary" } = {}) {
  const box = document.createElement("div");
  box.className = `explorer-toast alert alert-${tone} position-fixed bottom-0 end-0 m-3 d-flex gap-3 align-items-center shadow`;
  box.setAttribute("role", "status");
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-sm";
    button.textContent = action;
    button.addEventListener("click", () => {
      box.remove();
      onAction();
    });
    box.append(button);
  }
  document.querySelector(".explorer-toast")?.remove();
  document.body.append(box);
  setTimeout(() => box.remove(), UNDO_MS);
}

async function remove(base, id, version) {
  const query = new URLSearchParams({ id, version });
  return (await post(`${base}document/delete/?${query}`)).document;
}

const restore = (base, kept) => post(`${base}document/restore/`, kept);

function bindList(list) {
  const base = list.dataset.collectionUrl;
  list.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-delete]");
    if (!button) return;
    const row = button.closest("[data-row]");
    button.disabled = true;
    try {
      const kept = await remove(base, row.dataset.id, row.dataset.version);
      row.hidden = true;
      notify(`Deleted ${row.dataset.id}.`, {
        action: "Undo",
        onAction: async () => {
          try {
            await restore(base, kept);
            location.reload();
          } catch (error) {
            notify(error.message, { tone: "danger" });
          }
        },
      });
    } catch (error) {
      notify(error.message, { tone: "danger" });
    } finally {
      button.disabled = false;
    }
  });
  list.querySelector("[data-back]")?.addEventListener("click", () => history.back());
}

function bindEditor(form) {
  const area = form.querySelector("textarea");
  const note = form.querySelector("[data-syntax]");
  const save = form.querySelector(".btn-primary");
  const original = area.value;
  let saving = false;
  const check = () => {
    try {
      const value = JSON.parse(area.value);
      const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
      note.textContent = isObject ? "" : "A document is a JSON object.";
      return isObject;
    } catch (error) {
      note.textContent = error.message;
      return false;
    }
  };
  area.addEventListener("input", check);
  area.addEventListener("keydown", (event) => {
    if (event.key === "s" && (event.ctrlKey || event.metaKey) && save && !save.disabled) {
      event.preventDefault();
      form.requestSubmit(save);
    }
  });
  // Reformatting through JSON.parse would round big integers: refuse rather than corrupt.
  form.querySelector("[data-format]")?.addEventListener("click", () => {
    if (!check()) return;
    if (/[^.\deE+-]\s*-?\d{16,}/.test(area.value)) {
      note.textContent = "Not formatted: a browser cannot keep integers this long exact.";
      return;
    }
    area.value = JSON.stringify(JSON.parse(area.value), null, 2);
  });
  form.addEventListener("submit", (event) => {
    if (event.submitter === save && !check()) event.preventDefault();
    else saving = true;
  });
  addEventListener("beforeunload", (event) => {
    if (!saving && area.value !== original) event.preventDefault();
  });
  form.querySelector("[data-delete]")?.addEventListener("click", async () => {
    const { collectionUrl: base, id, version } = form.dataset;
    try {
      const kept = await remove(base, id, version);
      saving = true;
      form.hidden = true;
      notify(`Deleted ${id}.`, {
        action: "Undo",
        onAction: () => restore(base, kept).then(() => location.reload(), (error) => notify(error.message, { tone: "danger" })),
      });
      setTimeout(() => form.hidden && !document.querySelector(".explorer-toast") && location.assign(base), UNDO_MS + 50);
    } catch (error) {
      notify(error.message, { tone: "danger" });
    }
  });
}

function bindQuery(form) {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  // Empty boxes stay out of the address, which can then be shared.
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });
}

for (const list of document.querySelectorAll("[data-documents]")) bindList(list);
for (const form of document.querySelectorAll("[data-editor]")) bindEditor(form);
for (const form of document.querySelectorAll("[data-query]")) bindQuery(form);
