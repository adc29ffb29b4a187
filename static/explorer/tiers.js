// Keeps the card that says where a cluster's documents are fresh; the state card tells of outages.

const POLL_MS = 10000;
const card = document.querySelector("[data-tiers]");

async function load() {
  try {
    const answer = await fetch(card.dataset.tiers, { credentials: "same-origin" });
    if (answer.ok) {
      const html = await answer.text();
      // Who is in the middle of it with the keyboard keeps the place.
      if (!card.contains(document.activeElement)) card.innerHTML = html;
    }
  } catch {
    // The portal is away: what is shown stays until the next time.
  }
  setTimeout(load, POLL_MS);
}

if (card) load();
