// What came of an answer: who drafted and why, what was accepted, what it cost.

import { positionBars } from "./charts.js";
import { $, describe, el, figure } from "./dom.js";
import { reason, split } from "./words.js";

const LENGTHS_BETWEEN = 4; // from a run over one token to one over five, which were measured

export function showTag(routing) {
  const { name, version } = split(routing.draft);
  const isOther = routing.topic !== null && name !== routing.topic;
  $("topic").textContent = routing.topic ?? name;
  $("version").textContent = isOther ? `${name} ${version}` : version;
  $("topic").hidden = false;
  $("version").hidden = !$("version").textContent;
}

export function showSummary(report, costs, plainSeconds, seconds) {
  $("figures").hidden = false;
  const { name, version } = split(report.draft);
  const sure = report.confidence;
  describe($("why"), [
    ["Topic", report.topic ?? "none"],
    ...(sure === null ? [] : [["Sure", meter(sure), ` ${figure(sure)}`]]),
    ["Draft", `${name} ${version}`],
    ["Because", reason(report.reason)],
  ]);
  describe($("acceptance"), [
    ["Mean acceptance length", el("span", { class: "large" }, figure(report.mean_acceptance_length))],
    ["Accepted", `${report.num_accepted_tokens} of ${report.num_draft_tokens}`],
    ["Speculative runs", `${report.num_spec_steps} of ${report.num_target_runs}`],
    ["Tokens a run", figure(report.tokens_per_target_run)],
  ]);
  $("positions").replaceChildren(positionBars(report.accepted_per_position, report.num_spec_steps));
  const expected = costs && expectedSpeedup(report, costs);
  describe($("cost"), [
    ...(costs ? [["Draft step, c", `${figure(costs.draft_step)} of a plain run`],
      ["Wider run, w(5)", figure(costs.target_run_5)], ["Expected", `${figure(expected)}×`]] : []),
    ["Measured", el("b", {}, plainSeconds ? `${figure(plainSeconds / seconds)}×` : "race plain to see")],
  ]);
}

const meter = (share) => el("span", { class: "meter", "aria-hidden": "true" }, el("i", { "width%": 100 * share }));

// Tokens over what their runs cost in plain runs: w grows evenly between the two lengths that were measured.
function expectedSpeedup(report, { draft_step: c, target_run_5: w5 }) {
  const drafted = report.num_draft_tokens;
  const own = drafted - report.num_copied_tokens;
  const cost = report.num_target_runs + (drafted * (w5 - 1)) / LENGTHS_BETWEEN + own * c;
  const tokens = report.num_target_runs * report.tokens_per_target_run;
  return tokens / cost;
}
