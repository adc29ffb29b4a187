// The timeline of an experiment: read in order from the API, on news over the socket or by polling.

import { compact, line, makeChart, timeAxis, valueAxis } from "../monitoring/charts.js";

const POLL_MS = 2000;
const GAP_MS = 100;
const EVENTS_SHOWN_MAX = 300;
const STATUS = { starting: ["Starting", "azure"], running: ["Running", "red"], reverting: ["Reverting", "yellow"], recovering: ["Recovering", "azure"], over: ["Over", "green"] };
const STATES = { ready: "green", "not ready": "yellow", repairing: "yellow", silent: "red" };
const MESSAGES = {
  PrePrepare: "a proposal",
  Prepare: "a prepare vote",
  Commit: "a commit vote",
  Checkpoint: "a checkpoint vote",
  CheckpointCertificate: "a checkpoint certificate",
  TimeoutCertificate: "a certificate of a timeout",
  Committed: "decided batches",
  Replies: "a reply",
  ReadAnswer: "an answer to a read",
  ReadMessage: "a message about reads",
  Accusation: "proofs against others",
  StateTransfer: "a part of the state",
  FragmentAnswer: "a fragment of cold documents",
  frame: "a frame",
};
const REASONS = {
  unverified: "its signature or certificate does not hold",
  malformed: "it is no message",
  differs: "it differs from what enough nodes agree on",
  time_in_future: "its time is in the future",
  too_many: "there are too many of them",
  false_part: "a certificate proves it false",
  wrong_digest: "it is not the one that was agreed on",
};
const ALARMS = {
  state_damaged: "found a stored row damaged, and stopped reading from it",
  diverged: "found its state to differ from the certified one",
  wrong_fragment: "was given a part of a cold document that is not the agreed one",
  own_result_differs: "found that the others agree on another result than its own",
  state_transfer: "copies what is wrong from the others",
  repaired: "is repaired: its state is the agreed one again",
  suspects_primary: "suspects the primary, and says so to the others",
  clock_skew: "refused a proposal with a time in the future",
};
const FAULTS = { crash: "crash", delay: "delay", drop: "drop messages", equivocate: "equivocate", forge_replies: "forge replies", corrupt_document: "hold a corrupt document", stale_reads: "show stale reads", clock_skew: "run an hour ahead" };

const root = document.querySelector("[data-experiment]");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const data = { times: [], latency: [], failed: [], refused: [] };
const totals = { ok: 0, failed: 0, reads: 0, wrong: 0, refused: 0, proofs: 0, events: 0 };
const skewS = Date.now() / 1000 - Number(root.dataset.now);
const createdS = Number(root.dataset.created);
const endsS = Number(root.dataset.ends);
let status = root.dataset.status;
let after = 0;
let timer = 0;
let isLoading = false;
let isStale = false;
let refusedSince = 0;
let overS = 0;
let latest = null;

function put(name, text) {
  const element = part(name);
  if (element.textContent !== text) element.textContent = text;
}

const milliseconds = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`);
const range = () => [createdS, overS || Math.max(endsS, data.times.at(-1) ?? 0)];
const fromZero = (_plot, _low, high) => [0, Math.max(high || 0, 1) * 1.15];

const charts = {
  latency: makeChart(
    part("latency"),
    { scales: { x: { time: true, range }, y: { range: fromZero } }, axes: [timeAxis(), valueAxis(milliseconds)], series: [{}, { ...line("Slowest write", 0, { fill: true }), spanGaps: true }] },
    [[], []],
  ),
  refusals: makeChart(
    part("refusals"),
    { scales: { x: { time: true, range }, y: { range: fromZero } }, axes: [timeAxis(), valueAxis(compact)], series: [{}, line("Refused", 5, { fill: true })] },
    [[], []],
  ),
};

const named = (nodes) => (nodes.length === 1 ? `Node ${nodes[0]}` : `Nodes ${nodes.join(", ")}`);

function words(record) {
  const { node, about, facts } = record;
  switch (record.kind) {
    case "rejected": {
      const times = facts.count > 1 ? ` (${facts.count.toLocaleString("en")} times)` : "";
      return ["red", `${named(facts.nodes)} refused ${MESSAGES[facts.message] ?? facts.message} of node ${about}${times}: ${REASONS[facts.reason] ?? facts.reason}.`];
    }
    case "proof":
      return ["red", `${named(facts.nodes)} ${facts.nodes.length === 1 ? "holds" : "hold"} ${facts.count === 1 ? "a new proof" : `${facts.count} new proofs`} that node ${about} signed two things that contradict each other.`];
    case "view":
      return ["yellow", facts.primary === facts.before ? `View ${facts.view} begins; node ${facts.primary} leads.` : `View ${facts.view} begins: node ${facts.primary} leads instead of node ${facts.before}.`];
    case "roots":
      return facts.equal
        ? ["green", `Honest nodes have the same root at checkpoint ${facts.sequence.toLocaleString("en")}.`]
        : ["red", `Honest nodes have DIFFERENT roots at checkpoint ${facts.sequence.toLocaleString("en")}: they were told different things.`];
    case "alarm":
      return [facts.code === "repaired" ? "green" : "yellow", `Node ${node} ${ALARMS[facts.code] ?? `raised ${facts.code}`}${facts.count > 1 ? ` (${facts.count} times)` : ""}.`];
    case "lost":
      return ["yellow", `Node ${node} lost its link to node ${about}.`];
    case "found":
      return ["azure", `Node ${node} has a link to node ${about} again.`];
    case "stale":
      return ["yellow", `Node ${about} itself shows an old document: ${facts.shown} where ${facts.newest} was acknowledged. Only a read that asks it alone is fooled.`];
    case "changed":
      return ["yellow", `Node ${about} itself shows a changed document: “${facts.shown}”. Only a read that asks it alone is fooled.`];
    case "silent":
      return ["yellow", `Node ${about} does not answer us.`];
    case "answers":
      return ["azure", `Node ${about} answers us again.`];
    default:
      return ["secondary", record.kind];
  }
}

function tell(record) {
  const [tone, text] = words(record);
  const item = document.createElement("li");
  item.className = `list-group-item chaos-event is-${tone}`;
  const at = document.createElement("time");
  at.dateTime = record.at;
  at.textContent = new Date(record.at).toLocaleTimeString("en-GB");
  const dot = document.createElement("span");
  dot.className = "chaos-event-dot";
  dot.setAttribute("aria-hidden", "true");
  const said = document.createElement("span");
  said.className = "chaos-event-words";
  said.textContent = text;
  item.append(at, dot, said);
  const list = part("events");
  if (totals.events === 0) list.replaceChildren();
  list.prepend(item);
  while (list.children.length > EVENTS_SHOWN_MAX) list.lastElementChild.remove();
  totals.events += 1;
  if (record.kind === "view" || record.kind === "roots") put("spoken", text);
  if (record.kind === "rejected") totals.refused += record.facts.count;
  if (record.kind === "proof") totals.proofs += record.facts.count;
  if (record.kind === "rejected" || record.kind === "proof") refusedSince += record.facts.count;
}

function second(sample) {
  const { probe } = sample;
  totals.ok += probe.ok;
  totals.failed += probe.failed;
  totals.reads += probe.reads_ok;
  totals.wrong += probe.wrong;
  data.times.push(Date.parse(sample.at) / 1000);
  data.latency.push(probe.slowest_ms);
  data.refused.push(refusedSince);
  refusedSince = 0;
  latest = sample;
}

function cell(label, text, isNumber) {
  const element = document.createElement("td");
  element.dataset.label = label;
  if (isNumber) element.className = "text-end numeric";
  element.textContent = text;
  return element;
}

const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

function row(node) {
  const element = document.createElement("tr");
  const name = cell("Node", `${node.id}${node.id === latest.primary ? " · primary" : ""}`);
  name.classList.add("fw-medium");
  const made = cell("Made to", "");
  const badge = document.createElement("span");
  badge.className = `badge bg-${node.broken ? "red" : "green"}-lt`;
  badge.textContent = node.broken ? (FAULTS[node.broken] ?? node.broken) : "honest";
  made.append(badge);
  const state = cell("State", "");
  const mark = document.createElement("span");
  mark.className = `badge bg-${STATES[node.state] ?? "secondary"}-lt`;
  mark.textContent = node.state;
  state.append(mark);
  const p95 = node.p95_ms === null || node.p95_ms === undefined ? "–" : milliseconds(node.p95_ms);
  element.append(name, made, state, cell("View", number(node.view), true), cell("Sequence", number(node.sequence), true), cell("p95 latency", p95, true), cell("Refused by it", number(node.refused), true));
  return element;
}

function draw() {
  put("ok", totals.ok.toLocaleString("en"));
  put("failed", totals.failed.toLocaleString("en"));
  put("reads", `${totals.reads.toLocaleString("en")}, ${totals.wrong.toLocaleString("en")}`);
  put("refused", totals.refused.toLocaleString("en"));
  put("proofs", totals.proofs.toLocaleString("en"));
  part("failed").classList.toggle("text-red", totals.failed > 0);
  part("reads").classList.toggle("text-red", totals.wrong > 0);
  put("events-count", totals.events ? `${totals.events.toLocaleString("en")} events, newest first` : "");
  if (latest) {
    put("view", latest.view === null ? "–" : `${latest.view}, node ${latest.primary}`);
    const { sequence, equal } = latest.roots;
    put("roots", sequence === null ? "no checkpoint yet" : `${equal ? "equal" : "DIFFERENT"} at ${sequence.toLocaleString("en")}`);
    part("roots").className = sequence === null ? "text-secondary" : equal ? "text-green" : "text-red";
    part("nodes").replaceChildren(...latest.nodes.map(row));
  }
  charts.latency.setData([data.times, data.latency]);
  charts.refusals.setData([data.times, data.refused]);
}

function show(experiment) {
  const [label, tone] = STATUS[experiment.status];
  const badge = part("status");
  badge.className = `badge bg-${tone}-lt`;
  if (badge.textContent !== label) badge.textContent = label;
  if (experiment.over) overS = Date.parse(experiment.over) / 1000;
  const revert = part("revert");
  if (revert) revert.hidden = !["starting", "running"].includes(experiment.status);
  // The form and the list of past experiments come with the page.
  if (status !== "over" && experiment.status === "over" && !("past" in root.dataset)) location.reload();
  status = experiment.status;
  count();
}

function count() {
  const left = Math.max(0, Math.round(endsS - (Date.now() / 1000 - skewS)));
  const minutes = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  const text = {
    starting: `Nodes are being broken; ${minutes} left.`,
    running: `${minutes} until every node is put back.`,
    reverting: "Nodes are being put back.",
    recovering: "Every node runs as before; they catch up and are compared.",
    over: "Every node runs as before.",
  }[status];
  put("left", text);
  const isOpen = status === "starting" || status === "running";
  part("progress").value = isOpen ? 100 - (100 * left) / (endsS - createdS) : 100;
}

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
  let hasMore = false;
  try {
    const answer = await fetch(`${root.dataset.timeline}?after=${after}`, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (answer.ok) {
      const { experiment, results, next } = await answer.json();
      for (const record of results) {
        if (record.kind === "sample") second(record);
        else tell(record);
        after = record.id;
      }
      hasMore = next !== null;
      if (!document.hidden || hasMore) draw();
      show(experiment);
    }
  } catch {
    // The next turn asks again.
  }
  isLoading = false;
  if (hasMore || isStale) later(GAP_MS);
  else if (status !== "over") later(POLL_MS);
}

document.addEventListener("aerolith:live", (message) => message.detail.type === "chaos" && later(GAP_MS));
document.addEventListener("visibilitychange", () => !document.hidden && load());
setInterval(() => status !== "over" && count(), 500);
count();
load();
