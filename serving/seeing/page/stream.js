// One answer as it comes: server-sent events of a chat (or plain) completion, a target run each.

export class Refusal extends Error {
  constructor(message, status, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

let key = "";
try { key = sessionStorage.getItem("polydraft-key") ?? ""; } catch { /* storage is off: the key lives as long as the page */ }

export function useKey(given) {
  key = given;
  try { sessionStorage.setItem("polydraft-key", given); } catch { /* as above */ }
}

export const authorised = () => (key ? { Authorization: `Bearer ${key}` } : {});

// Yields {seconds, run, drafted, tokens: [{text, by, p, top}], refused, routing} and, last, {seconds, report, finish}.
export async function* ask(question, signal) {
  const began = performance.now();
  const path = question.chat ? "/v1/chat/completions" : "/v1/completions";
  const headers = { "Content-Type": "application/json", ...authorised() };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(bodyOf(question)), signal });
  if (!response.ok) throw await refusalOf(response);
  for await (const document of events(response.body)) {
    if (document.error) throw new Refusal(document.error.message, document.error.type === "timeout_error" ? 504 : 500);
    const seconds = (performance.now() - began) / 1000;
    const [choice] = document.choices;
    const said = document.polydraft;
    if (said?.tokens) yield { seconds, ...said, tokens: withProbabilities(said.tokens, choice.logprobs) };
    else if (said) yield { seconds, report: said, finish: choice.finish_reason };
  }
}

function bodyOf({ model, chat, prompt, draft, temperature, length, seed, trace }) {
  const asked = chat
    ? { messages: [{ role: "user", content: prompt }], logprobs: true, top_logprobs: 3 }
    : { prompt, logprobs: 3 };
  const extras = trace ? { tokens: true } : { tokens: true, trace: false };
  return { model, ...asked, draft, temperature, seed, max_tokens: length, stream: true, polydraft: extras };
}

async function refusalOf(response) {
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* not ours; the status has to do */ }
  const wait = Number(response.headers.get("Retry-After"));
  return new Refusal(message, response.status, wait || null);
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal("the stream broke off", 0);
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function withProbabilities(tokens, logprobs) {
  const chat = logprobs?.content ?? [];
  return tokens.map((token, place) => {
    if (chat[place]) {
      const top = chat[place].top_logprobs.map((each) => ({ text: each.token, p: Math.exp(each.logprob) }));
      return { ...token, p: Math.exp(chat[place].logprob), top };
    }
    if (logprobs?.token_logprobs && place < logprobs.token_logprobs.length) {
      const top = Object.entries(logprobs.top_logprobs[place]).map(([text, value]) => ({ text, p: Math.exp(value) }));
      return { ...token, p: Math.exp(logprobs.token_logprobs[place]), top: top.slice(0, 3) };
    }
    return { ...token, p: null, top: [] };
  });
}
