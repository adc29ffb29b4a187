// The live chart of a cluster: fifteen minutes of history, then a frame each second.

import { LiveSocket } from "./socket.js";
import { bytes, compact, dropChart, line, makeChart, seriesColour, timeAxis, valueAxis } from "./charts.js";

const SPAN_S = 15 * 60;
const STALE_MS = 4000;
const SPOKEN_MS = 30000;
const STATES = {
  connecting: ["Connecting…", "secondary", false],
  live: ["Live", "green", true],
  waiting: ["Waiting for figures", "yellow", false],
  reconnecting: ["Reconnecting…", "yellow", false],
  refused: ["No access", "red", false],
};

const milliseconds = (value) => {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
};

class LiveChart {
  constructor(root) {
    this.root = root;
    this.times = [];
    this.columns = { total: [], reads: [], writes: [], p50: [], p95: [], p99: [] };
    this.nodes = new Map();
    this.lastAt = 0;
    this.lastFrameMs = 0;
    this.spokenMs = 0;
    this.state = "connecting";
    this.build();
    this.load().finally(() => this.connect());
    setInterval(() => this.tick(), 1000);
    document.addEventListener("visibilitychange", () => !document.hidden && this.draw());
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  build() {
    const x = { time: true, range: () => this.range() };
    const cursor = { sync: { key: `live-${this.root.dataset.cluster}` }, y: false, points: { size: 7 } };
    const fromZero = (_plot, _low, high) => [0, Math.max(high || 0, 1) * 1.15];
    this.throughput = makeChart(
      this.part("throughput"),
      {
        cursor,
        scales: { x, y: { range: fromZero } },
        axes: [timeAxis(), valueAxis(compact)],
        series: [{}, line("All", 0, { fill: true }), line("Reads", 2), line("Writes", 1)],
      },
      [[], [], [], []],
    );
    this.latency = makeChart(
      this.part("latency"),
      {
        cursor,
        scales: { x, y: { range: fromZero } },
        axes: [timeAxis(), valueAxis(milliseconds)],
        series: [{}, line("p95", 3, { fill: true }), line("p50", 4)],
      },
      [[], [], []],
    );
    this.buildSequence();
  }

  buildSequence() {
    if (this.sequence) dropChart(this.sequence);
    this.nodeIds = [...this.nodes.keys()].sort((a, b) => a - b);
    this.sequence = makeChart(
      this.part("sequence"),
      {
        cursor: { sync: { key: `live-${this.root.dataset.cluster}` }, y: false, points: { size: 7 } },
        scales: { x: { time: true, range: () => this.range() }, y: { range: sequenceRange } },
        axes: [timeAxis(), valueAxis(compact, { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] })],
        // Equal nodes lie on top of each other: dashes let all of them be seen.
        series: [{}, ...this.nodeIds.map((id, index) => line(`Node ${id}`, index, { dash: dashOf(index) }))],
      },
      [[], ...this.nodeIds.map(() => [])],
    );
    const legend = this.part("sequence-legend");
    legend.replaceChildren(
      ...this.nodeIds.map((id) => {
        const item = document.createElement("li");
        item.className = "live-key";
        item.dataset.node = id;
        const dot = document.createElement("span");
        dot.className = "live-dot";
        item.append(dot, document.createElement("span"));
        return item;
      }),
    );
    this.paintKeys();
  }

  paintKeys() {
    const keys = this.root.querySelectorAll("[data-series]");
    for (const key of keys) key.style.setProperty("--key-colour", seriesColour(Number(key.dataset.series)));
    this.part("sequence-legend").querySelectorAll(".live-dot").forEach((dot, index) => {
      dot.style.setProperty("--key-colour", seriesColour(index));
    });
  }

  range() {
    const now = Math.max(Date.now() / 1000, this.lastAt);
    return [now - SPAN_S, now];
  }

  async load() {
    try {
      const answer = await fetch(this.root.dataset.metrics, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const { results } = await answer.json();
      for (const sample of results) {
        this.push(
          Date.parse(sample.at) / 1000,
          { total: sample.throughput, reads: sample.reads, writes: sample.writes },
          { p50: sample.p50_ms, p95: sample.p95_ms, p99: sample.p99_ms },
          sample.nodes,
        );
      }
      this.draw();
    } catch {
      // Without its history the chart still starts with the first live frame.
    }
  }

  connect() {
    new LiveSocket(this.root.dataset.socket, {
      onEvent: (event) => this.receive(event),
      onState: (state) => this.show(state === "open" ? (this.lastFrameMs ? "live" : "waiting") : state),
    });
  }

  receive(event) {
    document.dispatchEvent(new CustomEvent("aerolith:live", { detail: event }));
    if (event.type === "last") this.figures(event);
    if (event.type !== "metrics") return;
    this.lastFrameMs = Date.now();
    this.show("live");
    this.push(Date.parse(event.at) / 1000, event.throughput, event.latency_ms, event.nodes);
    this.figures(event);
    if (!document.hidden) this.draw();
  }

  push(at, throughput, latency, nodes) {
    if (at <= this.lastAt) return;
    // A pause in the figures is a hole in the line, never a straight stroke across it.
    if (this.lastAt && at - this.lastAt > 25) this.append(this.lastAt + 1, {}, {}, []);
    this.append(at, throughput, latency, nodes);
    this.lastAt = at;
    const first = at - SPAN_S - 30;
    let drop = 0;
    while (drop < this.times.length && this.times[drop] < first) drop += 1;
    if (drop > 60) {
      this.times.splice(0, drop);
      for (const column of Object.values(this.columns)) column.splice(0, drop);
      for (const column of this.nodes.values()) column.splice(0, drop);
    }
  }

  append(at, throughput, latency, nodes) {
    for (const node of nodes) {
      if (!this.nodes.has(node.id)) this.nodes.set(node.id, new Array(this.times.length).fill(null));
    }
    this.times.push(at);
    for (const name of ["total", "reads", "writes"]) this.columns[name].push(throughput[name] ?? null);
    for (const name of ["p50", "p95", "p99"]) this.columns[name].push(latency[name] ?? null);
    const seen = new Map(nodes.map((node) => [node.id, isHeard(node) ? node.sequence : null]));
    for (const [id, column] of this.nodes) column.push(seen.get(id) ?? null);
  }

  draw() {
    if (this.nodeIds.length !== this.nodes.size) this.buildSequence();
    const { total, reads, writes, p50, p95 } = this.columns;
    this.throughput.setData([this.times, total, reads, writes]);
    this.latency.setData([this.times, p95, p50]);
    this.sequence.setData([this.times, ...this.nodeIds.map((id) => this.nodes.get(id))]);
    this.paintKeys();
  }

  figures(frame) {
    const put = (name, text) => {
      const element = this.part(name);
      if (element && element.textContent !== text) element.textContent = text;
    };
    put("value-throughput", compact(frame.throughput.total));
    put("value-p95", milliseconds(frame.latency_ms.p95));
    put("value-documents", frame.documents.toLocaleString("en"));
    put("value-storage", bytes(frame.storage.used));
    put("value-sequence", frame.sequence.toLocaleString("en"));
    put("value-ready", `${frame.ready_count} of ${frame.member_count ?? frame.nodes.length}`);
    for (const node of frame.nodes) this.key(node);
    this.summarize(frame);
  }

  key(node) {
    const item = this.part("sequence-legend").querySelector(`[data-node="${Number(node.id)}"]`);
    if (!item) return;
    const lag = node.lag ? ` (${node.lag.toLocaleString("en")} behind)` : "";
    const state = node.health === "up" ? "" : ` · ${node.health.replace("_", " ")}`;
    item.lastElementChild.textContent = `Node ${node.id}: ${node.sequence === null ? "–" : node.sequence.toLocaleString("en")}${lag}${state}`;
  }

  summarize(frame) {
    const text =
      `${compact(frame.throughput.total)} operations a second, ` +
      `95 percent answered within ${milliseconds(frame.latency_ms.p95)}, ` +
      `sequence ${frame.sequence.toLocaleString("en")}, ` +
      `${frame.ready_count} of ${frame.member_count ?? frame.nodes.length} nodes ready.`;
    this.part("throughput").setAttribute("aria-label", `Throughput, last 15 minutes. Now: ${text}`);
    this.part("latency").setAttribute("aria-label", `Latency, last 15 minutes. Now 95 percent within ${milliseconds(frame.latency_ms.p95)}.`);
    this.part("sequence").setAttribute("aria-label", `Executed sequence of each node. Now ${frame.sequence.toLocaleString("en")}.`);
    if (Date.now() - this.spokenMs > SPOKEN_MS) {
      this.spokenMs = Date.now();
      this.part("spoken").textContent = text;
    }
  }

  tick() {
    if (this.state === "live" && Date.now() - this.lastFrameMs > STALE_MS) this.show("waiting");
    if (this.state !== "live" && !document.hidden) this.draw();
  }

  show(state) {
    if (state === this.state && this.shown) return;
    this.state = state;
    this.shown = true;
    const [label, tone, pulse] = STATES[state];
    const badge = this.part("state");
    badge.className = `badge bg-${tone}-lt live-state${pulse ? " is-live" : ""}`;
    badge.textContent = label;
  }
}

const isHeard = (node) => ["up", "not_ready", "learning"].includes(node.health);
const dashOf = (index) => (index === 0 ? undefined : [10, 4 + index * 4]);

function sequenceRange(_plot, low, high) {
  if (low === null || low === undefined) return [0, 10];
  const room = Math.max((high - low) * 0.08, 2);
  return [Math.max(0, Math.floor(low - room)), Math.ceil(high + room)];
}

for (const root of document.querySelectorAll("[data-live-chart]")) new LiveChart(root);
