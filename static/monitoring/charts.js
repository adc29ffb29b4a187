// uPlot in the colours of the page: axes, grid and series follow the theme and the width.

import uPlot from "../vendor/uplot/uPlot.esm.js";

const charts = new Set();

// A canvas knows no variables and no relative colours: let an element resolve them first.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

export function colour(name, fallback) {
  probe.style.color = `var(${name}, ${fallback})`;
  return getComputedStyle(probe).color;
}

// Distinguishable in both themes and with the common colour deficiencies (Okabe-Ito).
const SERIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7ad8"];
const SERIES_DARK = ["#4aa8e0", "#f0b429", "#2fc79a", "#e39cc6", "#8fd0f5", "#f0804a", "#b0a4f0"];

export const isDark = () => document.documentElement.getAttribute("data-bs-theme") === "dark";
export const seriesColour = (index) => (isDark() ? SERIES_DARK : SERIES)[index % SERIES.length];

const reduced = matchMedia("(prefers-reduced-motion: reduce)");
export const prefersLessMotion = () => reduced.matches;

export function withAlpha(hex, alpha) {
  const byte = Math.round(alpha * 255).toString(16).padStart(2, "0");
  return `${hex}${byte}`;
}

const axisFont = () => `12px ${getComputedStyle(document.body).fontFamily}`;

function axis(extra) {
  return {
    stroke: () => colour("--tblr-secondary", "#667382"),
    font: axisFont(),
    grid: { stroke: () => colour("--tblr-border-color", "#dce1e7"), width: 1 },
    ticks: { show: false },
    ...extra,
  };
}

const pad = (number) => String(number).padStart(2, "0");
export const clockOf = (seconds) => {
  const at = new Date(seconds * 1000);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}`;
};

export function timeAxis(extra = {}) {
  return axis({
    space: 70,
    values: (_plot, splits) => splits.map((value) => (value === null ? "" : clockOf(value))),
    ...extra,
  });
}

export function valueAxis(format, extra = {}) {
  return axis({
    size: 52,
    space: 36,
    values: (_plot, splits) => splits.map((value) => (value === null ? "" : format(value))),
    ...extra,
  });
}

export function line(label, index, { fill = false, dash } = {}) {
  return {
    label,
    stroke: () => seriesColour(index),
    width: 2,
    dash,
    fill: fill ? () => withAlpha(seriesColour(index), 0.1) : undefined,
    points: { show: false },
    spanGaps: false,
  };
}

export function makeChart(element, options, data) {
  const height = () => Number(element.dataset.height) || 170;
  const width = () => Math.max(element.clientWidth, 120);
  const plot = new uPlot(
    {
      width: width(),
      height: height(),
      padding: [10, 10, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      ...options,
    },
    data,
    element,
  );
  const observer = new ResizeObserver(() => {
    if (Math.abs(plot.width - width()) > 1) plot.setSize({ width: width(), height: height() });
  });
  observer.observe(element);
  charts.add(plot);
  return plot;
}

export function dropChart(plot) {
  charts.delete(plot);
  plot.destroy();
}

new MutationObserver(() => charts.forEach((plot) => plot.redraw(false, true))).observe(
  document.documentElement,
  { attributes: true, attributeFilter: ["data-bs-theme"] },
);

export function compact(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9)}G`;
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  return trim(value);
}

function trim(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${trim(size)} ${units[unit]}`;
}
