// Words for what the server says in one.

const REASONS = {
  topic: "the topic's draft pays",
  out_of_scope: "unlike every topic: the general draft",
  uncertain: "no topic is sure enough: the general draft",
  cheaper_draft: "another draft is predicted to be faster on this text",
  cheaper_general: "the general draft is as good and costs less",
  cheaper_lookup: "no draft pays, copying from the text does",
  no_gain: "nothing pays at this load: the target alone",
  asked: "you asked for it",
  undecided: "over before the router had decided: prompt lookup",
  "no router": "this server has no router",
  "router starting": "the router is still loading",
  "router failed": "the router does not answer",
};

export const reason = (word) => REASONS[word] ?? word;

// "sql@v3" as a name and a version.
export function split(label) {
  const [name, version] = label.split("@");
  return label.includes("+") ? { name: label, version: "" } : { name, version: version ?? "" };
}
