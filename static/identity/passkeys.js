// Passkeys: asks the browser for what the server wants, and sends back what it answered.

import { api } from "../app.js";

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const named = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

async function create(options) {
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: named(options.excludeCredentials),
  };
  const made = await navigator.credentials.create({ publicKey });
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    response: {
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
    },
  };
}

async function sign(options) {
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    allowCredentials: named(options.allowCredentials),
  };
  const made = await navigator.credentials.get({ publicKey });
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    response: {
      clientDataJSON: text(made.response.clientDataJSON),
      authenticatorData: text(made.response.authenticatorData),
      signature: text(made.response.signature),
      userHandle: made.response.userHandle ? text(made.response.userHandle) : null,
    },
  };
}

function words(error) {
  if (error.name === "NotAllowedError") return "It was cancelled, or no passkey was found.";
  if (error.name === "InvalidStateError") return "This device holds a passkey of yours already.";
  if (error.name === "SecurityError") return "Passkeys do not work under this address.";
  return error.message;
}

async function run(box, work) {
  const problem = box.querySelector("[data-part=problem]");
  const button = box.querySelector("button");
  problem.hidden = true;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    if (error.code === "reauthentication_required") {
      const asked = { next: location.pathname, action: "account.factors" };
      location.assign(`/account/confirm/?${new URLSearchParams(asked)}`);
      return;
    }
    problem.textContent = words(error);
    problem.hidden = false;
  } finally {
    button.disabled = false;
  }
}

function showCodes(codes) {
  const dialog = document.getElementById("passkey-codes");
  document.getElementById("codes").textContent = codes.join("\n");
  dialog.hidden = false;
  dialog.scrollIntoView();
}

for (const box of document.querySelectorAll("[data-passkey-add]")) {
  box.querySelector("button").addEventListener("click", () =>
    run(box, async () => {
      const base = "/account/security/passkeys/";
      const made = await create(await api(`${base}begin/`, { method: "POST", json: {} }));
      const name = box.querySelector("input").value;
      const { codes } = await api(`${base}finish/`, { method: "POST", json: { ...made, name } });
      if (codes.length) showCodes(codes);
      else location.reload();
    }),
  );
}

for (const box of document.querySelectorAll("[data-passkey-ask]")) {
  box.querySelector("button").addEventListener("click", () =>
    run(box, async () => {
      const base = `/passkey/${box.dataset.passkeyAsk}/`;
      const next = new URLSearchParams({ next: box.dataset.next ?? "" });
      const signed = await sign(await api(`${base}begin/`, { method: "POST", json: {} }));
      const answer = await api(`${base}finish/?${next}`, { method: "POST", json: signed });
      location.assign(answer.location);
    }),
  );
}
