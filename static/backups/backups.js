// Keeps the list of backups fresh while one is being taken.

import { outage } from "../outage.js";

const POLL_BUSY_MS = 1000;
const POLL_IDLE_MS = 10000;
const root = document.querySelector("[data-backups]");

const isOpen = () => Boolean(root.querySelector("[data-backups-fragment]").dataset.open);

async function load() {
  try {
    const answer = await fetch(root.dataset.url, { credentials: "same-origin" });
    if (answer.ok) replace(await answer.text());
    if (answer.status >= 500) outage.failed();
    else outage.answered();
  } catch {
    outage.failed();
  }
  setTimeout(load, isOpen() ? POLL_BUSY_MS : POLL_IDLE_MS);
}

function replace(html) {
  // Whoever is about to press a button keeps it.
  if (root.contains(document.activeElement)) return;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  root.replaceChildren(...parsed.body.childNodes);
  document.dispatchEvent(new CustomEvent("aerolith:fragment"));
}

setTimeout(load, isOpen() ? POLL_BUSY_MS : POLL_IDLE_MS);

// What the schedule in the form would take up.
const PAUSE_MS = 300;
const schedule = document.querySelector("[data-schedule]");
let timer = 0;

async function price() {
  const place = schedule.querySelector("[data-storage]");
  const asked = new URLSearchParams(new FormData(schedule));
  asked.delete("csrfmiddlewaretoken");
  try {
    const answer = await fetch(`${place.dataset.url}?${asked}`, { credentials: "same-origin" });
    if (answer.ok) place.innerHTML = await answer.text();
  } catch {
    // The portal is away for a moment: the figures stay as they are.
  }
}

schedule?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(price, PAUSE_MS);
});
