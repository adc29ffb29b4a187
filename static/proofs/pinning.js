// Remembers whom this browser trusts: the keys of a cluster's nodes as they were seen first. From
// then on only what those keys signed is believed, also of the portal that hands out newer ones.

const name = (clusterId) => `aerolith.anchor.${clusterId}`;

/** Answers { anchor, since } or null. */
export function pinned(clusterId) {
  try {
    return JSON.parse(localStorage.getItem(name(clusterId)));
  } catch {
    return null;
  }
}

/** Keeps the keys; answers whether this browser can remember anything. */
export function pin(anchor, since = new Date().toISOString()) {
  const kept = { anchor, since };
  try {
    localStorage.setItem(name(anchor.cluster_id), JSON.stringify(kept));
    return true;
  } catch {
    return false;
  }
}
