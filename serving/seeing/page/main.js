// Puts the page together: the theme, the keys, the two halves.

import { Dashboard } from "./dashboard.js";
import { $, describe, el } from "./dom.js";
import { Try } from "./try.js";

const KEYS = [
  ["/", "prompt", () => $("prompt").focus()],
  ["1–7", "an example"],
  ["r", "replay the race", () => lanes.replay()],
  ["c", "colours on and off", () => $("answer").classList.toggle("uncoloured")],
  ["t", "try", () => $("prompt").scrollIntoView({ block: "center" })],
  ["d", "dashboard", () => { $("dash").scrollIntoView(); $("dash-title").focus({ preventScroll: true }); }],
  ["?", "this list", () => $("keys").showModal()],
];
const ALWAYS = [
  ["Enter", "send; with Shift a new line"],
  ["Esc", "stop"],
  ["← →", "in the answer: a token back, on"],
  ["[ ]", "in the answer: a run back, on"],
  ["Home End", "in the answer: first, last token"],
];
const THEMES = ["as the system", "dark", "light"];

const server = { model: null, chat: true, drafts: [], costs: null };
const lanes = new Try(server);
new Dashboard((live) => {
  Object.assign(server, { model: live.model, chat: live.chat, drafts: live.drafts, costs: live.costs });
  lanes.offer();
});
startKeys();
startTheme();

function startKeys() {
  describe($("keys-list"), [...KEYS, ...ALWAYS].map(([key, what]) => [el("kbd", {}, key), what]));
  $("keys-button").addEventListener("click", () => $("keys").showModal());
  $("single-keys").checked = recall("single-keys") !== "off";
  $("single-keys").addEventListener("change", () => keep("single-keys", $("single-keys").checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("keys").open) return lanes.stop();
    const isTyping = event.target.closest("input, textarea, select, dialog") !== null;
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !$("single-keys").checked) return;
    const found = KEYS.find(([key]) => key === event.key);
    if (/^[1-9]$/.test(event.key)) lanes.example(Number(event.key) - 1);
    else if (found?.[2]) {
      event.preventDefault();
      found[2]();
    }
  });
}

function startTheme() {
  let chosen = Math.max(0, THEMES.indexOf(recall("theme")));
  const show = () => {
    if (chosen) document.documentElement.dataset.theme = THEMES[chosen];
    else delete document.documentElement.dataset.theme;
    $("theme").setAttribute("aria-label", `Theme: ${THEMES[chosen]}`);
  };
  $("theme").addEventListener("click", () => {
    chosen = (chosen + 1) % THEMES.length;
    keep("theme", THEMES[chosen]);
    show();
  });
  show();
}

function recall(name) {
  try { return localStorage.getItem(`polydraft-${name}`); } catch { return null; }
}

function keep(name, value) {
  try { localStorage.setItem(`polydraft-${name}`, value); } catch { /* storage is off: it lasts as long as the page */ }
}
