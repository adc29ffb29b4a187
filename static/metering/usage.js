// Bars of usage by day or hour, drawn from the same API that programs read.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { compact, dropChart, makeChart, seriesColour, timeAxis, valueAxis, withAlpha } from "../monitoring/charts.js";

const UNITS = { calls: "calls", storage_gb_hours: "GB·h", node_hours: "node-hours" };
const REFRESH_MS = 60000;

class UsageChart {
  constructor(root) {
    this.root = root;
    this.meter = "calls";
    this.by = "day";
    for (const button of root.querySelectorAll("[data-meter],[data-by]")) {
      button.addEventListener("click", () => this.choose(button));
    }
    this.load();
    setInterval(() => !document.hidden && this.load(), REFRESH_MS);
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  choose(button) {
    for (const other of button.parentElement.children) {
      other.classList.toggle("active", other === button);
      other.setAttribute("aria-pressed", String(other === button));
    }
    if (button.dataset.meter) {
      this.meter = button.dataset.meter;
      this.draw();
    } else {
      this.by = button.dataset.by;
      this.load();
    }
  }

  async load() {
    const by = this.by;
    try {
      const answer = await fetch(`${this.root.dataset.url}&by=${by}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const body = await answer.json();
      if (by !== this.by) return;
      this.points = body.series.points;
      this.draw();
    } catch {
      this.part("note").textContent = "The chart could not be loaded. It tries again in a minute.";
    }
  }

  draw() {
    if (!this.points) return;
    const times = this.points.map((point) => Date.parse(point.start) / 1000);
    const values = this.points.map((point) => Number(point[this.meter]));
    const isDay = this.by === "day";
    if (this.plot) dropChart(this.plot);
    const half = (isDay ? 86400 : 3600) / 2;
    this.plot = makeChart(
      this.part("canvas"),
      {
        scales: {
          x: { time: true, range: () => [times[0] - half, times.at(-1) + half] },
          y: { range: (_plot, _low, high) => [0, (high || 1) * 1.1] },
        },
        axes: [
          timeAxis({ values: (_plot, splits) => splits.map((at) => (at === null ? "" : label(at, isDay))), incrs: isDay ? [86400, 2 * 86400, 5 * 86400, 7 * 86400] : [3600, 3 * 3600, 6 * 3600, 12 * 3600], space: isDay ? 40 : 60 }),
          valueAxis(compact),
        ],
        series: [
          {},
          {
            label: UNITS[this.meter],
            stroke: () => seriesColour(0),
            fill: () => withAlpha(seriesColour(0), 0.65),
            width: 1,
            paths: uPlot.paths.bars({ size: [0.7, 48], radius: 0.15 }),
            points: { show: false },
          },
        ],
        hooks: { setCursor: [(plot) => this.point(plot)] },
        tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      },
      [times, values],
    );
    this.total = values.reduce((sum, value) => sum + value, 0);
    this.summarize();
  }

  point(plot) {
    const index = plot.cursor.idx;
    if (index === null || index === undefined) {
      this.summarize();
      return;
    }
    const [times, values] = plot.data;
    this.part("note").textContent = `${label(times[index], this.by === "day", true)}: ${values[index].toLocaleString("en", { maximumFractionDigits: 4 })} ${UNITS[this.meter]}`;
  }

  summarize() {
    const span = this.by === "day" ? "this month" : `the last ${this.points.length} hours`;
    const text = `${this.total.toLocaleString("en", { maximumFractionDigits: 2 })} ${UNITS[this.meter]} in ${span}. Times are UTC.`;
    this.part("note").textContent = text;
    this.part("canvas").setAttribute("aria-label", `Usage over time: ${text}`);
  }
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function label(at, isDay, isLong = false) {
  const date = new Date(at * 1000);
  const day = `${date.getUTCDate()} ${months[date.getUTCMonth()]}`;
  if (isDay) return day;
  const hour = `${String(date.getUTCHours()).padStart(2, "0")}:00`;
  return isLong ? `${day} ${hour}` : hour === "00:00" ? day : hour;
}

for (const root of document.querySelectorAll("[data-usage-chart]")) new UsageChart(root);
