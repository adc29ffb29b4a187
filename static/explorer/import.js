// The progress of an import: live by WebSocket, and asked for when the socket is silent.

import { LiveSocket } from "../monitoring/socket.js";
import { outage } from "../outage.js";

const POLL_MS = 2000;
const OPEN = new Set(["queued", "running"]);

class ImportProgress {
  constructor(root) {
    this.root = root;
    this.state = root.dataset.state;
    if (!OPEN.has(this.state)) return;
    this.socket = new LiveSocket(root.dataset.socket, {
      onEvent: (event) => event.type === "import" && event.id === root.dataset.id && this.show(event),
      onState: () => {},
    });
    this.timer = setInterval(() => this.poll(), POLL_MS);
    this.poll();
  }

  part(name) {
    return document.querySelector(`[data-part="${name}"]`);
  }

  async poll() {
    try {
      const answer = await fetch(this.root.dataset.progress, { headers: { Accept: "application/json" } });
      if (answer.ok) this.show(await answer.json());
      if (answer.status >= 500) outage.failed();
      else outage.answered();
    } catch {
      outage.failed();
    }
  }

  show(event) {
    const isNews = event.state !== this.state;
    this.state = event.state;
    for (const name of ["done", "created", "updated", "failed"]) this.part(name).textContent = event[name].toLocaleString("en");
    this.part("bar").value = event.percent;
    if (isNews) this.part("label").textContent = event.label;
    if (event.problem !== undefined) {
      this.part("problem").textContent = event.problem;
      this.part("problem").hidden = !event.problem;
    }
    if (event.errors) this.list(event.errors);
    if (OPEN.has(this.state)) return;
    clearInterval(this.timer);
    this.socket.close();
    this.part("cancel").hidden = true;
    this.part("leave").hidden = true;
    this.part("resume").hidden = this.state !== "failed";
    if (event.errors === undefined) this.poll();
  }

  list(errors) {
    document.querySelector("[data-errors]").hidden = errors.length === 0;
    this.part("errors").replaceChildren(
      ...errors.map((error) => {
        const row = document.createElement("tr");
        const number = document.createElement("td");
        const words = document.createElement("td");
        number.textContent = error.row.toLocaleString("en");
        words.textContent = error.detail;
        row.append(number, words);
        return row;
      }),
    );
  }
}

for (const root of document.querySelectorAll("[data-import]")) new ImportProgress(root);
