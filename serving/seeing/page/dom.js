// Making elements. Text goes in as text only: nothing that a model or a server says is ever parsed as markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "width%") made.style.width = `${value}%`;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map(asNode));
  return made;
}

// Pairs of a term and what is said of it.
export function describe(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, ...said]) => [el("dt", {}, term), el("dd", {}, ...said)]));
}

export const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";

export const figure = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));

export const milliseconds = (seconds) => (seconds === null ? "–" : (1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0));

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
