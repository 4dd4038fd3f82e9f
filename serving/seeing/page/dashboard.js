// The lower half: what has happened in a range of time, asked for every two seconds while somebody can see it.

import { clock, goesBack, loadChart, markText, topicChart } from "./charts.js";
import { $, el, figure, milliseconds } from "./dom.js";
import { authorised } from "./stream.js";

const POLL = 2000;
const STALE = 10;
const HEATS = 7;

export class Dashboard {
  // `heard` is told of every document.
  constructor(heard) {
    this.heard = heard;
    this.range = "1h";
    this.topics = new Map();
    this.last = null;
    $("ranges").addEventListener("click", (event) => this.choose(event.target.dataset.range));
    document.addEventListener("visibilitychange", () => this.poll());
    document.addEventListener("key-given", () => this.poll());
    setInterval(() => this.#age(), 1000);
    this.poll();
  }

  choose(range) {
    if (!range) return;
    this.range = range;
    for (const button of $("ranges").children) button.setAttribute("aria-pressed", button.dataset.range === range);
    this.poll();
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const number = (this.number = (this.number ?? 0) + 1);
    try {
      const response = await fetch(`/live.json?range=${this.range}`, { headers: authorised(), signal: AbortSignal.timeout(5000) });
      if (response.status === 401) $("key-form").hidden = false;
      else if (response.ok) {
        const live = await response.json();
        if (number === this.number) this.#show(live);
      }
    } catch { /* the age of the last figures says it */ }
    if (number === this.number) this.timer = setTimeout(() => this.poll(), POLL);
  }

  #show(live) {
    this.last = performance.now();
    this.heard(live);
    showState(live);
    showTiles(live);
    this.#showTopics(live);
    showMatrix(live.matrix);
    showChanges(live);
    $("load").replaceChildren(loadChart(live.times, live.load.series, live.load.slots, Math.max(280, $("load").clientWidth)),
      el("ul", { class: "legend" }, el("li", {}, el("i", { class: "swatch running" }), "running"),
        el("li", {}, el("i", { class: "swatch waiting" }), "waiting")));
    this.#age();
  }

  #age() {
    if (this.last === null) return;
    const seconds = Math.round((performance.now() - this.last) / 1000);
    const isStale = seconds >= STALE;
    $("board").classList.toggle("stale", isStale);
    $("updated").textContent = isStale ? `no data for ${seconds} s` : `updated ${seconds < 3 ? "just now" : `${seconds} s ago`}`;
    if (isStale) pill("bad", "No answer");
  }

  #showTopics({ topics, times }) {
    const most = Math.max(2, ...topics.flatMap((topic) => [topic.general ?? 0, ...topic.series.map((value) => value ?? 0)]));
    for (const topic of topics) {
      if (!this.topics.has(topic.topic)) this.topics.set(topic.topic, new TopicCard());
      this.topics.get(topic.topic).show(topic, times, most);
    }
    const shown = topics.map((topic) => this.topics.get(topic.topic).card);
    if (shown.some((card, place) => $("topics").children[place] !== card)) $("topics").replaceChildren(...shown);
  }
}

class TopicCard {
  constructor() {
    this.name = el("h4");
    this.version = el("span", { class: "version" });
    this.figure = el("p", { class: "big" });
    this.chart = el("div");
    this.share = el("span");
    this.table = el("table", { class: "plain" });
    this.details = el("details", {}, el("summary", {}, "as a table"), this.table);
    this.details.addEventListener("toggle", () => this.#fill());
    this.card = el("article", { class: "card small" }, el("header", {}, this.name, this.version), this.figure, this.chart,
      el("footer", {}, this.share, this.details));
  }

  show(topic, times, most) {
    [this.topic, this.times] = [topic, times];
    this.name.textContent = topic.topic;
    this.details.setAttribute("aria-label", `Figures of ${topic.topic}`);
    this.version.textContent = topic.version;
    const ahead = topic.general === null || topic.tokens_per_run === null ? null : topic.tokens_per_run - topic.general;
    this.figure.replaceChildren(figure(topic.tokens_per_run), " ", el("small", {}, ahead === null ? "tokens a run"
      : `tokens a run, ${ahead >= 0 ? "+" : "−"}${figure(Math.abs(ahead))} to the general draft`));
    this.chart.replaceChildren(topicChart(topic, times, most));
    this.share.textContent = topic.share === null ? "no answers" : `${Math.round(100 * topic.share)} % of answers`;
    this.#fill();
  }

  #fill() {
    if (!this.details.open) return;
    const rows = this.topic.series.flatMap((value, place) =>
      value === null ? [] : [el("tr", {}, el("td", {}, clock(this.times[place])), el("td", {}, figure(value)))]);
    this.table.replaceChildren(el("tr", {}, el("th", {}, "from"), el("th", {}, "tokens a run")), ...rows);
  }
}

function pill(kind, text) {
  $("state").className = `pill ${kind}`;
  if ($("state-text").textContent !== text) $("state-text").textContent = text; // it is read out when it changes
}

function showState({ status, reasons, model, drafts, router, router_version: version }) {
  const isDegraded = status === "degraded" || (status === "ready" && reasons.length > 0);
  const kind = isDegraded ? "degraded" : status === "ready" ? "ready" : status === "starting" ? "starting" : "bad";
  pill(kind, isDegraded ? "Degraded" : status[0].toUpperCase() + status.slice(1));
  $("about").replaceChildren("target ", el("b", {}, model), ` · ${drafts.length} drafts`,
    router === "off" ? " · no router" : version ? ` · ${version}` : "");
  $("banner").hidden = reasons.length === 0;
  $("banner").className = `banner ${kind === "bad" ? "" : "warn"}`;
  $("banner").textContent = reasons.join(" · ");
}

function showTiles({ figures, load, audit }) {
  const tile = (name, value, unit, note) =>
    el("article", { class: "card tile" }, el("span", {}, name), el("b", {}, value), " ", el("em", {}, unit), el("small", {}, note));
  const { first_token: first, gap } = figures;
  const audited = audit && tile("Audit since the start", audit.mismatches, `of ${audit.answers}`, "answers differ from plain ones");
  $("tiles").replaceChildren(...[
    tile("Tokens a second", figures.tokens_per_second.toFixed(0), "", `${figures.answers} answers, ${figures.tokens} tokens`),
    tile("Tokens a run", figure(figures.tokens_per_run), "", `${figure(figures.mean_acceptance_length)} where something was proposed`),
    tile("First token p50 / p99", `${milliseconds(first.p50)} / ${milliseconds(first.p99)}`, "ms", "routing runs beside it"),
    tile("Between blocks p50 / p99", `${milliseconds(gap.p50)} / ${milliseconds(gap.p99)}`, "ms", "a block is what one run gave"),
    tile("Running / waiting", `${load.running} / ${load.waiting}`, "", `of ${load.slots} slots`),
    audited,
  ].filter(Boolean));
}

function showMatrix({ drafts, rows }) {
  const most = Math.max(2, ...rows.flatMap((row) => row.cells.map((cell) => cell.tokens_per_run ?? 0)));
  const hasRegret = rows.some((row) => row.regret !== null);
  const head = ["topic", ...drafts, ...(hasRegret ? ["regret"] : [])];
  const body = rows.map((row) => {
    const answers = row.cells.reduce((sum, cell) => sum + cell.answers, 0);
    const best = Math.max(...row.cells.map((cell) => cell.tokens_per_run ?? 0));
    const cells = row.cells.map((cell) => matrixCell(cell, answers, best, most));
    if (hasRegret) cells.push(el("td", { class: "figure", title: "target runs lost in 1,000 tokens" }, figure(row.regret, 1)));
    return el("tr", {}, el("th", { scope: "row" }, row.topic === "none" ? "no topic" : row.topic), ...cells);
  });
  $("matrix").replaceChildren(el("table", { class: "matrix" },
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...body)));
}

function matrixCell({ tokens_per_run: value, answers, source }, all, best, most) {
  if (value === null) return el("td", { class: "heat-0" });
  const heat = Math.max(0, Math.min(HEATS - 1, Math.floor((HEATS * (value - 1)) / (most - 1))));
  const share = all ? answers / all : 0;
  const names = [`heat-${heat}`, source, value === best ? "best" : ""].join(" ").trim();
  const said = `${answers} answers${source === "shadow" ? "; scored on traces" : ""}`;
  return el("td", { class: names, title: said }, value.toFixed(1),
    share ? el("span", { class: "share", "width%": 86 * share }) : null);
}

function showChanges({ changes, proposed }) {
  const items = changes.map((change) => {
    const kind = { installed: goesBack(change) ? "bad" : "good", "rolled back": "bad" }[change.what] ?? "warn";
    const word = change.what === "installed" && goesBack(change) ? "back" : change.what;
    const versions = change.before ? `${change.before} → ${change.version}` : markText(change);
    return el("li", {}, el("time", { datetime: new Date(1000 * change.at).toISOString() }, clock(change.at)),
      el("span", { class: `what ${kind}` }, word),
      el("p", {}, el("b", {}, `${change.draft} ${versions}`), change.why ? el("span", {}, ` ${change.why}`) : null));
  });
  const open = proposed.map((topic) =>
    el("li", {}, el("span"), el("span", { class: "what warn" }, "proposed"),
      el("p", {}, el("b", {}, topic.name), ` a topic of ${topic.requests} requests: ${topic.words.join(", ")}`)));
  const none = el("li", { class: "none" }, el("p", {}, "Nothing since the server started."));
  $("changes").replaceChildren(...(items.length + open.length ? [...open, ...items] : [none]));
}
