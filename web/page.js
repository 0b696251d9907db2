// What watchpost sees, live. Everything shown comes from devices and is hostile: it becomes text
// nodes alone, never markup. The token is kept for this tab only.
"use strict";

// Rows beyond this make a browser slow, and nobody reads them: the filter finds the rest.
const ROWS_MAX = 300;
const EVENTS_MAX = 100;
// Times and durations change without an event being told.
const REFRESH_MS = 15_000;
// Many targets change at once when a switch goes down: the alerts are asked for once after that.
const SETTLE_MS = 300;
const RECONNECT_MS = 2_000;

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token");
let targets = [];
let alerts = [];
let actions = [];

class Refused extends Error {}

/** Makes an element of a class with text or elements in it. */
function make(name, className, ...content) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

function clock(text) {
  const time = new Date(text);
  const never = Number.isNaN(time.getTime()) || time.getFullYear() < 1970;
  return never ? "" : time.toLocaleTimeString();
}

async function ask(path, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, signal, cache: "no-store" });
  if (response.status === 401) throw new Refused();
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return response;
}

async function data(path) {
  return (await (await ask(path)).json()).data;
}

/** What is wrong comes first, then by name. */
const rank = { down: 0, unknown: 1, up: 2 };

function showTargets() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (t) => [t.health, t.scrapeUrl, t.lastError, ...Object.entries(t.labels).flat()].join(" ").toLowerCase();
  const found = targets
    .filter((target) => words.every((word) => text(target).includes(word)))
    .sort((a, b) => rank[a.health] - rank[b.health] || a.scrapeUrl.localeCompare(b.scrapeUrl));
  $("targets").replaceChildren(...found.slice(0, ROWS_MAX).map((target) => {
    const tags = Object.entries(target.labels)
      .filter(([name]) => name !== "target" && name !== "kind")
      .map(([name, value]) => `${name}=${value}`)
      .join(" ");
    const name = make("td", "", target.labels.target ?? target.scrapeUrl);
    if (tags) name.append(" ", make("span", "dim", tags));
    const took = target.lastScrapeDuration ? ` · ${(target.lastScrapeDuration * 1000).toFixed(1)} ms` : "";
    return make("tr", "",
      make("td", `state ${target.health}`, target.health),
      name,
      make("td", "dim", target.scrapePool),
      make("td", "dim", clock(target.lastScrape) + took),
      make("td", "", target.lastError));
  }));
  const more = found.length - ROWS_MAX;
  $("more").hidden = more <= 0;
  $("more").textContent = `${more} more; the filter finds them`;
}

function showAlerts() {
  const colour = { firing: "down", pending: "pending" };
  const order = { firing: 0, pending: 1, unknown: 2 };
  const sorted = [...alerts].sort((a, b) => order[a.state] - order[b.state] || b.activeAt.localeCompare(a.activeAt));
  const cards = sorted.slice(0, ROWS_MAX).map((alert) => {
    const { summary, description, reason } = alert.annotations;
    const card = make("li", colour[alert.state] ?? "unknown",
      make("p", "", make("span", `state ${colour[alert.state] ?? "unknown"}`, `${alert.state} · ${alert.labels.severity}`),
        ` ${summary || alert.labels.alertname}`));
    if (description) card.append(make("p", "", description));
    card.append(make("p", "dim", `${alert.labels.alertname} since ${new Date(alert.activeAt).toLocaleString()}: ${reason || ""}`));
    return card;
  });
  $("alerts").replaceChildren(...(cards.length ? cards : [make("li", "up", make("span", "", "no alert"))]));
}

function showActions() {
  $("actions-section").hidden = actions.length === 0;
  $("actions").replaceChildren(...actions.slice(0, ROWS_MAX).map((action) => {
    const { last } = action;
    const state = last ? (last.ok ? "up" : "down") : "unknown";
    const word = last ? (last.ok ? "ok" : "failed") : "idle";
    const counts = [`${action.delivered} delivered`];
    if (action.waiting + action.running) counts.push(`${action.waiting + action.running} waiting`);
    if (action.gave_up) counts.push(`${action.gave_up} given up`);
    return make("tr", "",
      make("td", `state ${state}`, word),
      make("td", "", action.name),
      make("td", "dim", action.kind),
      make("td", "dim", counts.join(" · ")),
      make("td", "", last ? `${clock(last.at)} ${last.rule}: ${last.outcome}` : ""));
  }));
}

function showSummary() {
  const count = (health) => targets.filter((target) => target.health === health).length;
  const firing = alerts.filter((alert) => alert.state === "firing").length;
  const parts = [`${count("up")} up`, `${count("down")} down`];
  if (count("unknown")) parts.push(`${count("unknown")} unknown`);
  parts.push(`${firing} ${firing === 1 ? "alert" : "alerts"} firing`);
  $("summary").textContent = parts.join(" · ");
  document.title = count("down") || firing ? `(${count("down") + firing}) watchpost` : "watchpost";
}

function show() {
  $("content").hidden = false;
  $("login").hidden = true;
  showTargets();
  showAlerts();
  showActions();
  showSummary();
}

async function refresh() {
  // The engine may be busy while targets can be told already.
  const [told, judged, done] = await Promise.allSettled([
    data("api/v1/targets"),
    data("api/v1/alerts"),
    ask("api/watchpost/actions").then((answer) => answer.json()),
  ]);
  if (told.status === "rejected") throw told.reason;
  targets = told.value.activeTargets;
  if (judged.status === "fulfilled") alerts = judged.value.alerts;
  if (done.status === "fulfilled") actions = done.value;
  show();
}

function note(at, state, text) {
  $("events").querySelector(".quiet")?.remove();
  $("events").prepend(make("li", "", make("time", "", clock(at)), make("span", `state ${state}`, text)));
  while ($("events").children.length > EVENTS_MAX) $("events").lastChild.remove();
}

let settling;
function settle() {
  clearTimeout(settling);
  settling = setTimeout(() => refresh().catch(() => {}), SETTLE_MS);
}

function happened(kind, event) {
  if (kind === "target") {
    const why = event.up ? "" : `: ${event.reason ?? ""} ${event.context ?? ""}`;
    note(event.at, event.up ? "up" : "down", `${event.target} is ${event.up ? "up" : "down"}${why}`);
  } else if (kind === "alert") {
    const firing = event.state === "firing";
    note(event.at, firing ? "down" : "up", `${firing ? "firing" : "cleared"}: ${event.summary || event.rule} (${event.reason})`);
  }
  settle();
}

/** Reads the live stream until it ends. EventSource cannot send a token, so this reads it itself. */
async function listen() {
  const reader = (await ask("api/events")).body.pipeThrough(new TextDecoderStream()).getReader();
  linked(true);
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s));
      const of = (name) => fields.filter(([field]) => field === name).map(([, text]) => text).join("\n");
      if (of("event")) happened(of("event"), JSON.parse(of("data")));
    }
  }
}

function linked(is) {
  $("link").textContent = is ? "live" : "not connected";
  $("link").className = is ? "up" : "down";
}

function login(refused) {
  $("login").hidden = false;
  $("content").hidden = true;
  $("refused").hidden = !refused;
  $("summary").textContent = "";
  $("token").focus();
}

/** Shows what is, then what happens; starts over when the connection ends. */
async function run() {
  for (;;) {
    try {
      await refresh();
      await listen();
    } catch (error) {
      if (error instanceof Refused) {
        linked(false);
        return login(Boolean(token));
      }
    }
    linked(false);
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  $("token").value = "";
  run();
});
$("filter").addEventListener("input", showTargets);
setInterval(() => { if (!document.hidden && !$("content").hidden) refresh().catch(() => {}); }, REFRESH_MS);
run();
