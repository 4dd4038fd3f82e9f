// An answer whose tokens are coloured by who wrote them, and what is known of the token that one looks at.

import { describe, el, figure, visible } from "./dom.js";

export const WRITERS = {
  draft: "draft, accepted",
  lookup: "prompt lookup, accepted",
  corrected: "target, corrected",
  bonus: "target, bonus",
  plain: "plain",
};

export class Answer {
  constructor(box, inspector, legend) {
    this.box = box;
    this.inspector = inspector;
    this.legend = legend;
    if (inspector) this.#listen();
    this.clear();
  }

  clear() {
    this.tokens = [];
    this.counts = {};
    this.here = -1;
    this.pinned = false;
    this.box.replaceChildren();
    if (this.inspector) this.inspector.hidden = true;
    this.#countUp();
  }

  get text() {
    return this.tokens.map((token) => token.text).join("");
  }

  add(piece) {
    piece.tokens.forEach((token, position) => {
      const place = this.tokens.push({ ...token, position, piece }) - 1;
      this.counts[token.by] = (this.counts[token.by] ?? 0) + 1;
      this.box.append(el("span", { class: `t ${token.by}`, "data-place": place }, token.text));
    });
    this.#countUp();
  }

  look(place, tells = false) {
    if (!this.inspector || !this.tokens.length) return;
    this.box.children[this.here]?.classList.remove("here");
    this.here = Math.max(0, Math.min(this.tokens.length - 1, place));
    this.box.children[this.here].classList.add("here");
    this.inspector.setAttribute("aria-live", tells ? "polite" : "off");
    this.inspector.hidden = false;
    this.inspector.replaceChildren(...inspection(this.tokens[this.here], this.here));
  }

  #countUp() {
    const shown = Object.entries(WRITERS).filter(([by]) => this.counts[by] || !["lookup"].includes(by));
    this.legend?.replaceChildren(
      ...shown.map(([by, name]) =>
        el("li", {}, el("i", { class: `swatch ${by}` }), `${name} `, el("b", { "data-by": by }, this.counts[by] ?? 0)),
      ),
    );
  }

  #listen() {
    const placeOf = (event) => Number(event.target.dataset?.place ?? -1);
    this.box.addEventListener("mouseover", (event) => {
      if (placeOf(event) >= 0 && !this.pinned) this.look(placeOf(event));
    });
    this.box.addEventListener("click", (event) => {
      if (placeOf(event) < 0) return;
      this.pinned = !(this.pinned && placeOf(event) === this.here);
      this.look(placeOf(event));
    });
    this.box.addEventListener("focus", () => {
      if (this.here < 0) this.look(0, true);
    });
    this.box.addEventListener("keydown", (event) => {
      const goes = this.#target(event.key);
      if (goes === null || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Enter") this.pinned = !this.pinned;
      this.look(goes, true);
    });
  }

  #target(key) {
    const run = this.tokens[this.here]?.piece.run;
    const firstOf = (wanted) => this.tokens.findIndex((token) => token.piece.run === wanted);
    switch (key) {
      case "ArrowRight": case "ArrowDown": return this.here + 1;
      case "ArrowLeft": case "ArrowUp": return this.here - 1;
      case "Home": return 0;
      case "End": return this.tokens.length - 1;
      case "[": return firstOf(Math.max(1, this.here === firstOf(run) ? run - 1 : run));
      case "]": return firstOf(run + 1) < 0 ? this.tokens.length - 1 : firstOf(run + 1);
      case "Enter": return this.here;
      default: return null;
    }
  }
}

function inspection(token, place) {
  const head = el("div", {},
    el("h3", {}, el("i", { class: `swatch ${token.by}` }), `Token ${place + 1}: ${WRITERS[token.by]}`),
    el("p", {}, story(token)));
  const facts = el("dl");
  const pairs = [];
  if (token.by === "corrected" && token.piece.refused) pairs.push(["draft guessed", code(token.piece.refused.text)]);
  pairs.push([["draft", "lookup"].includes(token.by) ? "both say" : "target wrote", code(token.text)]);
  if (token.p !== null) pairs.push(["its probability", figure(token.p)]);
  describe(facts, pairs);
  const bars = token.top.map(({ text, p }) =>
    el("span", {}, code(text), el("i", { "width%": 100 * p }), figure(p)));
  return [head, facts, el("div", { class: "bars", role: "group", "aria-label": "What the target thought" }, ...bars)];
}

function story({ by, position, piece }) {
  const { run, drafted } = piece;
  switch (by) {
    case "draft": return `Run ${run}: guess ${position + 1} of ${drafted}, kept.`;
    case "lookup": return `Run ${run}: copied from the text so far, ${position + 1} of ${drafted}, kept.`;
    case "corrected": return `Run ${run}: guess ${position + 1} of ${drafted} was refused; ${position} before it kept.`;
    case "bonus": return `Run ${run}: all guesses were kept, so the target's own comes for free.`;
    default: return `Run ${run}: nothing was proposed.`;
  }
}

const code = (text) => el("code", {}, visible(text));

