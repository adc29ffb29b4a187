// The Verify badge of a document: fetches the proof, checks it here, and says what was proven.

import { blake3 } from "../vendor/noble-hashes/blake3.js";
import { hexOf, isEqual, parseJson, utf8 } from "./encoding.js";
import { pin, pinned } from "./pinning.js";
import { ProofError, quorumOf, verifyAnswer } from "./verify.js";

const NO_ED25519 = "This browser cannot check Ed25519 signatures (it needs a secure context and a version of 2025 or later). The portal can check for you, or run the command below on your own machine.";

class Unavailable extends Error {}

/** A short name of the keys, to compare by eye with what others see. */
export function fingerprint(anchor) {
  const keys = anchor.validators.map(({ id, public_key: key }) => `${id}:${key}`).join(",");
  return hexOf(blake3(utf8(`${anchor.cluster_id}|${anchor.epoch}|${keys}`), { dkLen: 8 })).replace(/(....)(?=.)/g, "$1 ");
}

async function fetchProof(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  const text = await answer.text();
  const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
  const body = isJson ? parseJson(text) : {};
  if (!answer.ok) throw new Unavailable(body.detail || `The portal answered ${answer.status}. Nothing was checked; try again.`);
  return { ...body, text };
}

async function check({ answer, anchor }, place) {
  const known = pinned(anchor.cluster_id);
  const trusted = known?.anchor ?? anchor;
  const proven = await verifyAnswer(answer, trusted);
  if (proven.collection !== place.collection || proven.id !== place.id) throw new ProofError("other_document", `the proof is of ${proven.collection}/${proven.id}`);
  // Only keys that led to a proof are remembered; later epochs came by signatures of these.
  const since = known?.since ?? new Date().toISOString();
  const isPinned = pin(proven.anchor, since);
  return { proven, since, isFirst: known === null, isPinned };
}

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function row(list, term, ...values) {
  list.append(make("dt", "col-sm-3", term));
  const value = make("dd", "col-sm-9 text-break");
  value.append(...values);
  list.append(value);
}

class Badge {
  constructor(root) {
    this.root = root;
    this.button = root.querySelector("[data-verify]");
    this.result = document.querySelector(root.dataset.result);
    this.place = { collection: root.dataset.collection, id: root.dataset.id };
    this.button.addEventListener("click", (event) => {
      event.preventDefault();
      this.run();
    });
  }

  async run() {
    this.show("secondary", "Checking…", "Asking the nodes to sign the state that this document is in.");
    this.button.setAttribute("aria-busy", "true");
    try {
      const given = await fetchProof(this.root.dataset.proofUrl);
      this.answer = given;
      this.proven(await check(given, this.place));
    } catch (error) {
      this.failed(error);
    } finally {
      this.button.removeAttribute("aria-busy");
    }
  }

  show(tone, title, text) {
    this.result.replaceChildren();
    const box = make("div", `alert alert-${tone}`);
    box.setAttribute("role", "status");
    box.append(make("h4", "alert-title", title));
    if (text) box.append(make("p", "mb-2", text));
    this.result.append(box);
    return box;
  }

  proven({ proven, since, isFirst, isPinned }) {
    const { document: found, anchor } = proven;
    const what = found === null ? "there is no such document" : `version ${found._version} is what the cluster holds`;
    const box = this.show("success", `Proven in this browser: ${what}`);
    const shown = this.compare(found);
    if (shown) box.append(shown);
    const list = make("dl", "row mb-2 small");
    const n = anchor.validators.length;
    row(list, "Signed by", `nodes ${proven.signers.join(", ")}: ${proven.signers.length} of ${n}, ${quorumOf(n)} are needed`);
    row(list, "State", `after sequence ${proven.sequence} (${proven.kind}), epoch ${anchor.epoch}`);
    row(list, "Root", make("code", "", hexOf(proven.root)));
    const known = isFirst ? "seen for the first time just now" : `known to this browser since ${new Date(since).toLocaleString()}`;
    const keys = isPinned ? known : "this browser remembers nothing, so they were taken from the portal";
    row(list, "Keys", make("code", "", fingerprint(anchor)), ` ${keys}`);
    box.append(list, this.actions());
  }

  /** Says so when the page shows something else than what was proven: it may be older by now. */
  compare(found) {
    const editor = document.querySelector("#document-text");
    if (editor === null || found === null) return null;
    const own = Object.fromEntries(Object.entries(found).filter(([name]) => !name.startsWith("_")));
    let shown;
    try {
      shown = parseJson(editor.value);
    } catch {
      shown = undefined;
    }
    if (isEqual(shown, own)) return null;
    return make("p", "mb-2 fw-bold", "The text on this page is not what was proven: it was edited here, or the document has changed since. Reload to see the proven version.");
  }

  actions() {
    const bar = make("div", "d-flex flex-wrap gap-2 align-items-center small");
    bar.append(this.download("Download the proof", "proof.json", this.answer.answer), this.download("Download the keys", "anchor.json", this.answer.anchor));
    bar.append(make("code", "text-break", "aerolith verify proof.json --anchor anchor.json"));
    return bar;
  }

  download(label, filename, value) {
    const button = make("button", "btn btn-sm", label);
    button.type = "button";
    button.addEventListener("click", () => {
      const link = make("a");
      link.href = URL.createObjectURL(new Blob([exactJson(value)], { type: "application/json" }));
      link.download = filename;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 0);
    });
    return button;
  }

  failed(error) {
    if (error instanceof Unavailable || error instanceof TypeError) {
      this.show("warning", "Not checked", error instanceof Unavailable ? error.message : "The portal could not be reached. Nothing was checked; try again.");
      return;
    }
    if (error.name === "NotSupportedError" || !globalThis.crypto?.subtle) {
      const box = this.show("warning", "Not checked", NO_ED25519);
      const link = make("a", "btn btn-sm", "Let the portal check");
      link.href = this.button.href;
      box.append(link, this.actions());
      return;
    }
    const code = error instanceof ProofError ? error.code : "failed";
    const box = this.show("danger", "Not proven", `${capitalized(error.message)} (${code}).`);
    box.append(make("p", "mb-2", "Do not rely on this document before you know why: a node, the network or the portal gave a false answer, or the nodes' keys were replaced without a signed handover."));
    this.offerKeys(box);
    if (this.answer) box.append(this.actions());
  }

  /** Offers the portal's keys where they are not those that this browser remembers. */
  offerKeys(box) {
    const theirs = this.answer?.anchor;
    const known = theirs && pinned(theirs.cluster_id);
    if (!known || isEqual(known.anchor, theirs)) return;
    box.append(make("p", "mb-2", `This browser trusts the keys ${fingerprint(known.anchor)} since ${new Date(known.since).toLocaleString()}; the portal names ${fingerprint(theirs)}. Compare them with a colleague before you go on.`));
    const button = make("button", "btn btn-sm btn-danger mb-2", "Trust the portal's keys from now on");
    button.type = "button";
    button.addEventListener("click", () => {
      pin(theirs);
      this.run();
    });
    box.append(button);
  }
}

/** JSON with integers of more than 53 bits as they were. */
function exactJson(value) {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(exactJson).join(",")}]`;
  if (typeof value === "object" && value !== null) return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${exactJson(item)}`).join(",")}}`;
  return JSON.stringify(value);
}

for (const root of document.querySelectorAll("[data-proof-url]")) new Badge(root);
