// Says on a live page that the portal does not answer and how old its figures are.

const FAILURES_TOLERATED = 1;

class Outage {
  constructor() {
    this.failures = 0;
    this.answeredAt = new Date();
  }

  answered() {
    this.failures = 0;
    this.answeredAt = new Date();
    this.box?.remove();
    this.box = null;
  }

  failed() {
    this.failures += 1;
    // The one request that a page drops while it is left is no outage.
    if (this.failures <= FAILURES_TOLERATED || this.box) return;
    this.box = document.createElement("div");
    this.box.className = "alert alert-warning";
    this.box.setAttribute("role", "alert");
    const since = this.answeredAt.toLocaleTimeString();
    this.box.textContent = `The portal does not answer at the moment. What this page says is from ${since}; it goes on by itself. Clusters serve their clients meanwhile.`;
    document.querySelector("#main > .container-xl").prepend(this.box);
  }
}

export const outage = new Outage();
