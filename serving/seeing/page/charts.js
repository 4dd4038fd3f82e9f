// Charts by hand: each says in a sentence what it shows.

import { svg } from "./dom.js";

const COLUMN = 14;
const CELL = 11;

// One column a target run: what was kept, what was dropped, and the target's own on top. Below, plain decoding's.
export function runStrip(pieces, plainRuns) {
  const columns = Math.max(pieces.length, plainRuns, 1);
  const width = Math.max(3, Math.min(COLUMN, 1000 / columns));
  const tallest = Math.max(1, ...pieces.map((piece) => Math.max(piece.drafted + 1, piece.tokens.length)));
  const base = tallest * CELL + 4;
  const rects = pieces.flatMap((piece, column) => runColumn(piece, 1 + column * width, base, width - 2));
  for (let column = 0; column < plainRuns; column++) {
    rects.push(svg("rect", { class: "fill-plain", x: 1 + column * width, y: base + 18, width: width - 2, height: 9, rx: 2 }));
  }
  const tokens = pieces.reduce((sum, piece) => sum + piece.tokens.length, 0);
  const said = `${pieces.length} target runs with speculation, ${figureOf(tokens / pieces.length)} tokens each`;
  const plain = plainRuns ? `; ${plainRuns} without` : "";
  const full = columns * width + 150;
  const height = base + (plainRuns ? 32 : 6);
  const chart = svg("svg", { viewBox: `0 0 ${full} ${height}`, width: full, height, role: "img", "aria-label": said + plain });
  const label = (x, y, text) => svg("text", { class: "value-text", x, y }, text);
  chart.append(...rects, label(pieces.length * width + 8, base - 4, `routed: ${pieces.length} runs`));
  if (plainRuns) chart.append(label(plainRuns * width + 8, base + 27, `plain: ${plainRuns} runs`));
  return chart;
}

function runColumn({ tokens, drafted }, x, base, width) {
  const cell = (name, level) =>
    svg("rect", { class: `fill-${name}`, x, y: base - (level + 1) * CELL + 0.5, width, height: CELL - 2, rx: 2 });
  const written = tokens.map((token, level) => cell(token.by, level));
  const kept = tokens.filter((token) => ["draft", "lookup"].includes(token.by)).length;
  // The first refused guess stood where the target's own token stands now.
  const dropped = Math.max(0, drafted - kept - (tokens.at(-1)?.by === "corrected" ? 1 : 0));
  for (let level = 0; level < dropped; level++) written.push(cell("missed", tokens.length + level));
  return written;
}

export function positionBars(accepted, drafts) {
  const shares = accepted.map((count) => (drafts ? count / drafts : 0));
  const said = shares.map((share, place) => `${Math.round(100 * share)} % at position ${place + 1}`).join(", ");
  const step = 34;
  const width = Math.max(1, shares.length) * step;
  const chart = svg("svg", { viewBox: `0 0 ${width} 92`, width, height: 92, role: "img",
    "aria-label": said ? `Accepted: ${said}` : "Nothing was proposed" });
  shares.forEach((share, place) => {
    const height = 70 * share;
    chart.append(svg("rect", { class: "fill-draft", x: place * step + 3, y: 90 - height, width: step - 6, height, rx: 3 }));
    chart.append(svg("text", { class: "axis-text", x: place * step + step / 2, y: 84 - height, "text-anchor": "middle" },
      share.toFixed(2).replace(/^0/, "")));
  });
  return chart;
}

// Tokens a run of one topic over time; `most` is the top of the scale, which all topics share.
export function topicChart(topic, times, most) {
  const [width, height, left] = [300, 96, 4];
  const x = (at) => left + ((at - times[0]) / (times.at(-1) - times[0])) * (width - 50);
  const y = (value) => height - 8 - (value / most) * (height - 26);
  const points = topic.series.map((value, place) => (value === null ? null : [x(times[place]), y(value)]));
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": sentence(topic) });
  for (const part of unbroken(points)) {
    const line = part.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`);
    if (part.length === 1) {
      chart.append(svg("circle", { class: "dot", cx: part[0][0], cy: part[0][1], r: 2 }));
      continue;
    }
    chart.append(svg("polygon", { class: "area",
      points: [`${part[0][0]},${height - 8}`, ...line, `${part.at(-1)[0]},${height - 8}`].join(" ") }));
    chart.append(svg("polyline", { class: "curve", points: line.join(" ") }));
  }
  if (topic.general !== null) {
    chart.append(svg("line", { class: "reference", x1: left, x2: width - 46, y1: y(topic.general), y2: y(topic.general) }));
  }
  topic.marks.forEach((mark, place) => {
    const at = x(mark.at);
    // What the next mark would cover is written on the other side of the line.
    const isCrowded = place + 1 < topic.marks.length && x(topic.marks[place + 1].at) - at < 8 * markText(mark).length;
    const side = isCrowded ? { x: at - 3, "text-anchor": "end" } : { x: at + 3 };
    chart.append(svg("line", { class: "mark", x1: at, x2: at, y1: 14, y2: height - 8 }));
    chart.append(svg("text", { class: "mark-text", y: 12, ...side }, markText(mark)));
  });
  const last = points.findLast((point) => point !== null);
  if (last) {
    chart.append(svg("circle", { class: "dot", cx: last[0], cy: last[1], r: 3.5 }));
    const value = topic.series.findLast((each) => each !== null);
    chart.append(svg("text", { class: "value-text", x: last[0] + 8, y: last[1] + 4 }, value.toFixed(1)));
  }
  return chart;
}

export const goesBack = ({ version, before }) => Number(version.slice(1)) < Number(before.slice(1));

export const markText = (mark) => (goesBack(mark) ? `${mark.version} back` : mark.version || "new");

// Most at once, running and waiting; as wide as there is room for.
export function loadChart(times, { running, waiting }, slots, width) {
  const [height, left] = [150, 28];
  const most = Math.max(slots, ...running.map((count, place) => count + waiting[place]));
  const y = (count) => height - 20 - (count / most) * (height - 34);
  const step = (width - left) / times.length;
  const busiest = Math.max(...running);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `At most ${busiest} answers at once and ${Math.max(...waiting)} waiting, of ${slots} slots` });
  for (const count of new Set([0, Math.round(slots / 2), slots])) {
    chart.append(svg("line", { class: "gridline", x1: left, x2: width, y1: y(count), y2: y(count) }));
    chart.append(svg("text", { class: "axis-text", x: left - 6, y: y(count) + 4, "text-anchor": "end" }, count));
  }
  times.forEach((_, place) => {
    const bar = (name, from, to) => svg("rect", { class: `fill-${name}`, x: left + place * step + 0.5,
      y: y(to), width: Math.max(1, step - 1), height: Math.max(0, y(from) - y(to)) });
    if (running[place]) chart.append(bar("running", 0, running[place]));
    if (waiting[place]) chart.append(bar("waiting", running[place], running[place] + waiting[place]));
  });
  for (const place of [0, Math.floor(times.length / 2), times.length - 1]) {
    const anchor = place === 0 ? "start" : place === times.length - 1 ? "end" : "middle";
    chart.append(svg("text", { class: "axis-text", x: left + place * step, y: height - 4, "text-anchor": anchor }, clock(times[place])));
  }
  return chart;
}

export const clock = (seconds) =>
  new Date(1000 * seconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

const figureOf = (value) => (Number.isFinite(value) ? value.toFixed(1) : "0");

function sentence(topic) {
  if (topic.tokens_per_run === null) return `${topic.topic}: no answers`;
  const general = topic.general === null ? "" : `; the general draft ${topic.general.toFixed(2)}`;
  const marks = topic.marks.map((mark) => `; ${markText(mark)} since ${clock(mark.at)}`).join("");
  return `${topic.topic}: ${topic.tokens_per_run.toFixed(2)} tokens a run${general}${marks}`;
}

function* unbroken(points) {
  let part = [];
  for (const point of [...points, null]) {
    if (point) part.push(point);
    else if (part.length) {
      yield part;
      part = [];
    }
  }
}
