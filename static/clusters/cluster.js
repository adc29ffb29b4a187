// Keeps the state of a cluster's page fresh: on news over the socket, and by polling without it.

import { LiveSocket } from "../monitoring/socket.js";
import { outage } from "../outage.js";

const POLL_BUSY_MS = 1000;
const POLL_IDLE_MS = 10000;
const POLL_FAILED_MS = 2000;
const GAP_MS = 150;
const root = document.querySelector("[data-state]");
let timer = 0;
let isLoading = false;
let isStale = false;

const fragment = () => root.querySelector("[data-fragment]");

function later(ms) {
  clearTimeout(timer);
  timer = setTimeout(load, ms);
}

async function load() {
  if (isLoading) {
    isStale = true;
    return;
  }
  isLoading = true;
  isStale = false;
  const before = { ...fragment().dataset };
  let isAnswered = true;
  try {
    const answer = await fetch(root.dataset.url, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
    if (answer.ok) replace(await answer.text());
    else if (answer.status >= 500) isAnswered = false;
    // Purged while we looked: only the list is left to show.
    else if (answer.status === 404) location.assign(root.dataset.url.replace(/\/clusters\/.*/, "/clusters/"));
  } catch {
    isAnswered = false;
  }
  isLoading = false;
  if (isAnswered) outage.answered();
  else outage.failed();
  const after = fragment().dataset;
  const isSettled = before.open && !after.open;
  if (isSettled && ["overview", "connect", "keys", "settings"].includes(root.dataset.tab)) {
    location.reload();
    return;
  }
  if (isAnswered) later(isStale ? GAP_MS : after.open ? POLL_BUSY_MS : POLL_IDLE_MS);
  else later(POLL_FAILED_MS);
}

function replace(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const found = parsed.querySelector("[data-state]") ?? parsed.body;
  if (root.contains(document.activeElement) && document.activeElement.matches("button, a")) return;
  root.replaceChildren(...found.childNodes);
  document.dispatchEvent(new CustomEvent("aerolith:fragment"));
}

function receive(event) {
  if (event.type === "operation" || event.type === "cluster") later(GAP_MS);
  if (event.type === "metrics" || event.type === "last") nodes(event);
}

const learning = ["learning", "azure"];
const starting = ["starting", "yellow"];
const HEALTH = { learning, up: ["ready", "green"], not_ready: ["not ready", "yellow"], stale: ["silent", "yellow"], down: ["unreachable", "red"] };

// Nodes come and go while members change: the table is fetched anew when it lacks one or has one
// too many.
let isTableAsked = false;

async function table(frame) {
  const shown = [...document.querySelectorAll("[data-node-table] tr[data-node]")].map((row) => Number(row.dataset.node));
  const wanted = frame.nodes.map((node) => node.id);
  if (root.dataset.tab !== "overview" || isTableAsked || String(shown) === String(wanted)) return;
  isTableAsked = true;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["[data-node-table]", "[data-size]"]) {
      const found = parsed.querySelector(part);
      if (answer.ok && found) document.querySelector(part)?.replaceWith(found);
    }
  } catch {
    // The next frame asks again.
  }
  setTimeout(() => (isTableAsked = false), POLL_BUSY_MS);
}

function nodes(frame) {
  table(frame);
  for (const node of frame.nodes) {
    const row = document.querySelector(`[data-node-table] tr[data-node="${Number(node.id)}"]`);
    if (!row) continue;
    const put = (name, text) => {
      const cell = row.querySelector(`[data-part="${name}"]`);
      if (cell.textContent !== text) cell.textContent = text;
    };
    const isNew = node.health === "stale" && node.sequence === null;
    const [words, tone] = isNew ? starting : HEALTH[node.health] ?? [node.health.replaceAll("_", " "), "secondary"];
    put("health", words);
    row.querySelector('[data-part="health"]').className = `badge bg-${tone}-lt`;
    put("role", node.role || "–");
    put("sequence", node.sequence === null ? "–" : node.sequence.toLocaleString("en"));
    put("lag", node.lag === null ? "–" : node.lag.toLocaleString("en"));
  }
}

if (document.querySelector("[data-live-chart]")) {
  document.addEventListener("aerolith:live", (message) => receive(message.detail));
} else {
  const onEvent = (event) => {
    document.dispatchEvent(new CustomEvent("aerolith:live", { detail: event }));
    receive(event);
  };
  new LiveSocket(root.dataset.socket, { onEvent, onState: () => {} });
}
document.addEventListener("visibilitychange", () => !document.hidden && later(0));
later(fragment().dataset.open ? POLL_BUSY_MS : POLL_IDLE_MS);
