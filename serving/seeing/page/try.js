// The upper half: a prompt, its answer as it comes, the same by the target alone, and both replayed side by side.

import { Answer } from "./answer.js";
import { runStrip } from "./charts.js";
import { $, el, figure } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Refusal, ask, useKey } from "./stream.js";
import { showSummary, showTag } from "./summary.js";

const MOST_RETRIES = 5;

export class Try {
  constructor(server) {
    this.server = server; // {model, chat, drafts, costs}, kept up to date by the dashboard
    this.routed = new Answer($("answer"), $("inspect"), $("legend"));
    this.plain = new Answer($("plain-answer"), null, null);
    this.lanes = { routed: [], plain: [] }; // pieces, each with the seconds at which it came
    this.reports = {}; // of the lanes that have ended
    this.running = null;
    this.#listen();
  }

  // Offer what this server has: its drafts, and the examples of their topics.
  offer() {
    const drafts = this.server.drafts.map((draft) => draft.name);
    const wanted = ["auto", "none", ...drafts, "lookup"];
    const shown = [...$("draft").options].map((option) => option.value);
    if (wanted.join() === shown.join()) return;
    const chosen = $("draft").value;
    $("draft").replaceChildren(...wanted.map((name) => el("option", {}, name)));
    $("draft").value = wanted.includes(chosen) ? chosen : "auto";
    this.examples = EXAMPLES.filter(([topic]) => drafts.includes(topic) || topic === "off topic");
    $("examples").replaceChildren(...this.examples.map(([topic], place) =>
      el("button", { type: "button", class: topic === "off topic" ? "outside" : "", "aria-keyshortcuts": place + 1 }, topic)));
    $("last-example").textContent = this.examples.length;
  }

  example(place) {
    const [, prompt] = this.examples?.[place] ?? [];
    if (!prompt) return;
    $("prompt").value = prompt;
    this.send();
  }

  stop() {
    this.running?.abort();
  }

  async send() {
    const prompt = $("prompt").value;
    if (!prompt.trim() || !this.server.model) return;
    this.stop();
    const mine = (this.running = new AbortController());
    this.#prepare(prompt);
    const question = {
      ...this.server, prompt, draft: $("draft").value, temperature: Number($("temperature").value),
      length: this.length, seed: Math.floor(2 ** 31 * Math.random()), trace: true,
    };
    try {
      this.reports.routed = await this.#stream(question, "routed", mine);
      this.#summarise();
      $("told").textContent = this.#spoken();
      if ($("race").checked && question.draft !== "none") {
        this.reports.plain = await this.#stream({ ...question, draft: "none", trace: false }, "plain", mine);
        this.#summarise();
        this.#verdict(question.temperature);
      }
    } catch (error) {
      this.#fail(error, mine);
    } finally {
      if (this.running === mine) this.#rest();
    }
  }

  async replay() {
    if (this.running || !this.reports.plain) return;
    const mine = (this.running = new AbortController());
    this.#busy(true);
    const steps = Object.entries(this.lanes)
      .flatMap(([lane, pieces]) => pieces.map((piece) => ({ lane, piece })))
      .sort((one, other) => one.piece.seconds - other.piece.seconds);
    this.routed.clear();
    this.plain.clear();
    const began = performance.now();
    for (const { lane, piece } of steps) {
      const wait = 1000 * piece.seconds - (performance.now() - began);
      if (wait > 0) await new Promise((done) => setTimeout(done, wait));
      if (mine.signal.aborted) break;
      this.#show(lane, piece);
    }
    this.routed.clear();
    this.plain.clear();
    for (const { lane, piece } of steps) this.#show(lane, piece);
    this.#rest();
  }

  // Streams one answer into its lane and returns its report. A full queue is asked again when it says so.
  async #stream(question, lane, mine) {
    for (let retries = 0; ; retries++) {
      try {
        for await (const piece of ask(question, mine.signal)) {
          if (piece.report) return piece.report;
          this.lanes[lane].push(piece);
          this.#show(lane, piece);
        }
        throw new Refusal("the stream ended without its last words", 0);
      } catch (error) {
        if (error.status !== 429 || retries >= MOST_RETRIES || this.lanes[lane].length) throw error;
        await this.#countDown(error, mine.signal);
      }
    }
  }

  #show(lane, piece) {
    const answer = lane === "routed" ? this.routed : this.plain;
    answer.add(piece);
    if (lane === "routed" && piece.routing) {
      showTag(piece.routing);
      if (piece.routing.topic) $("told").textContent = `${piece.routing.topic}: draft ${piece.routing.draft} chosen`;
    }
    const seconds = piece.seconds;
    $(`${lane}-clock`).textContent = `${figure(seconds)} s · ${Math.round(answer.tokens.length / seconds)} tokens/s`;
    if (lane === "plain") $("plain-count").textContent = answer.tokens.length;
    const share = this.reports.plain ? seconds / this.#longest : answer.tokens.length / this.#mostTokens;
    $(`${lane}-progress`).style.width = `${Math.min(100, 100 * share)}%`;
    this.#drawRuns();
  }

  get #longest() {
    return Math.max(this.lanes.routed.at(-1).seconds, this.lanes.plain.at(-1).seconds);
  }

  get #mostTokens() {
    return this.reports.routed ? this.routed.tokens.length : this.length;
  }

  // Once a frame: drawing at every run would hold up the stream that is being timed.
  #drawRuns() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      $("runs-card").hidden = false;
      $("runs").replaceChildren(runStrip(this.lanes.routed, this.lanes.plain.length));
    });
  }

  #verdict(temperature) {
    const [routed, plain] = [this.lanes.routed, this.lanes.plain];
    const [seconds, plainSeconds] = [routed.at(-1).seconds, plain.at(-1).seconds];
    const ratio = plainSeconds / seconds;
    const isSame = this.routed.text === this.plain.text;
    const speed = ratio >= 1 ? `${figure(ratio)}× faster` : `${figure(1 / ratio)}× slower`;
    const same = temperature > 0
      ? el("span", {}, "drawn from the same law; the words may differ")
      : el("span", { class: isSame ? "same" : "differs" }, isSame ? "✓ text identical" : "✗ text differs");
    $("verdict").replaceChildren(el("strong", {}, speed), el("span", {}, `${this.routed.tokens.length} tokens, `,
      el("b", {}, routed.length), " target runs instead of ", el("b", {}, plain.length)), same,
      el("button", { type: "button", class: "ghost", id: "replay", "aria-keyshortcuts": "r" }, "Replay side by side"));
    $("verdict").hidden = false;
    for (const lane of ["routed", "plain"]) {
      $(`${lane}-progress`).style.width = `${(100 * this.lanes[lane].at(-1).seconds) / this.#longest}%`;
    }
    $("told").textContent = `${speed}, ${this.#spoken()}, ${same.textContent}`;
  }

  #summarise() {
    const plainSeconds = this.reports.plain ? this.lanes.plain.at(-1).seconds : null;
    showSummary(this.reports.routed, this.server.costs, plainSeconds, this.lanes.routed.at(-1).seconds);
  }

  #spoken() {
    const { tokens } = this.routed;
    return `done: ${tokens.length} tokens, ${this.lanes.routed.length} target runs`;
  }

  #prepare(prompt) {
    this.lanes = { routed: [], plain: [] };
    this.reports = {};
    this.length = Number($("length").value);
    this.routed.clear();
    this.plain.clear();
    for (const id of ["nothing-yet", "verdict", "trouble", "figures", "runs-card", "topic", "version"]) $(id).hidden = true;
    $("lanes").hidden = false;
    for (const lane of ["routed", "plain"]) {
      $(`${lane}-clock`).textContent = "";
      $(`${lane}-progress`).style.width = "0";
    }
    $("plain-count").textContent = 0;
    $("plain-lane").hidden = !$("race").checked || $("draft").value === "none";
    $("told").textContent = "";
    for (const [place, button] of [...$("examples").children].entries()) {
      button.setAttribute("aria-pressed", this.examples[place][1] === prompt);
    }
    this.#busy(true);
  }

  #busy(is) {
    for (const answer of [$("answer"), $("plain-answer")]) answer.setAttribute("aria-busy", is);
    $("send").replaceChildren(is ? "Stop " : "Send ", el("kbd", { class: "wide" }, is ? "Esc" : "Enter"));
  }

  #rest() {
    this.running = null;
    this.#busy(false);
  }

  #fail(error, mine) {
    if (this.running !== mine) return; // another question has taken its place
    if (error.name === "AbortError") {
      this.#trouble(`Stopped after ${this.routed.tokens.length} tokens; what came is kept.`, false);
    } else if (error.status === 401) {
      $("key-form").hidden = false;
      $("key").focus();
    } else {
      const kept = this.routed.tokens.length ? ` What came before, ${this.routed.tokens.length} tokens, is kept.` : "";
      this.#trouble(`${error.message}.${kept}`, true);
    }
  }

  #trouble(text, canRepeat) {
    const again = el("button", { type: "button" }, "Send again");
    again.addEventListener("click", () => this.send());
    $("trouble").replaceChildren(text, ...(canRepeat ? [again] : []));
    $("trouble").classList.toggle("warn", !canRepeat);
    $("trouble").hidden = false;
  }

  async #countDown(error, signal) {
    for (let left = Math.ceil(error.retryAfter ?? 1); left > 0; left--) {
      this.#trouble(`The queue is full. Asking again in ${left} s; Esc gives up.`, false);
      await new Promise((done) => setTimeout(done, 1000));
      signal.throwIfAborted();
    }
    $("trouble").hidden = true;
  }

  #listen() {
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.stop();
      else this.send();
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    $("examples").addEventListener("click", (event) => {
      const place = [...$("examples").children].indexOf(event.target.closest("button"));
      if (place >= 0) this.example(place);
    });
    $("verdict").addEventListener("click", (event) => {
      if (event.target.id === "replay") this.replay();
    });
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      useKey($("key").value);
      $("key-form").hidden = true;
      document.dispatchEvent(new Event("key-given"));
    });
  }
}
