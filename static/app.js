// What every page shares: calls to the API, toasts, copying, relative times, the theme.

const csrf = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "error";
    this.problem = problem;
  }
}

/** Call the API; answers the parsed JSON, throws ApiError with the server's words. */
export async function api(path, { method = "GET", json, headers = {}, signal } = {}) {
  const response = await fetch(path, {
    method,
    signal,
    credentials: "same-origin",
    headers: {
      Accept: "application/json",
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
      ...(method === "GET" ? {} : { "X-CSRFToken": csrf() }),
      ...headers,
    },
    body: json === undefined ? undefined : JSON.stringify(json),
  });
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    body = { detail: "The server's answer can not be read." };
  }
  if (!response.ok) throw new ApiError(response.status, body ?? {});
  return body;
}

/** Tell something in the corner for a few seconds. */
export function toast(message, kind = "info") {
  const box = document.createElement("div");
  box.className = `toast show align-items-center mb-2 toast-${kind}`;
  box.setAttribute("role", kind === "danger" ? "alert" : "status");
  const body = document.createElement("div");
  body.className = "toast-body";
  body.textContent = message;
  box.append(body);
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), 5000);
}

/** Copy text; pages over plain HTTP from another machine have no clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    toast("Copying is not possible here: select the text instead.", "danger");
  }
}

const STEPS = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86400, "hour", 3600],
  [2592000, "day", 86400],
  [31536000, "month", 2592000],
  [Infinity, "year", 31536000],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function relative(moment, now = Date.now()) {
  const seconds = (moment.getTime() - now) / 1000;
  const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  return words.format(Math.round(seconds / size), unit);
}

function refreshTimes() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title ||= moment.toLocaleString();
    element.textContent = relative(moment);
  }
}

document.addEventListener("click", (event) => {
  const toggle = event.target.closest("[data-theme-toggle]");
  if (toggle) {
    const root = document.documentElement;
    root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.bsTheme);
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  const source = event.target.closest("[data-copy]");
  if (source) {
    const target = source.dataset.copy ? document.querySelector(source.dataset.copy) : null;
    copy(target ? (target.value ?? target.textContent).trim() : source.dataset.copyText);
  }
});
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
});
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = csrf();
});
document.addEventListener("aerolith:fragment", refreshTimes);
refreshTimes();
setInterval(refreshTimes, 20000);
