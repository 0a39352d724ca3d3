// A model's answer to a text: asked for, and shown as it comes (a model that writes) or as bars, a number or marks.

import { post } from "./api.js";
import { bars } from "./charts.js";
import { h } from "./dom.js";
import { number, percent } from "./format.js";
import { streamed } from "./stream.js";

const MOST_BARS = 10;

/** Stream what a model writes; `onText(all so far)`. Gives {text, tokens, seconds, first, reason}. */
export async function write(model, { messages, prompt, sampling }, onText, signal) {
  const chat = messages !== undefined;
  const body = { model, stream: true, stream_options: { include_usage: true }, ...sampling, ...(chat ? { messages } : { prompt }) };
  const began = performance.now();
  let first = null;
  let text = "";
  let tokens = 0;
  let reason = null;
  for await (const piece of streamed(chat ? "/v1/chat/completions" : "/v1/completions", body, signal)) {
    const choice = piece.choices?.[0];
    const more = chat ? choice?.delta?.content : choice?.text;
    if (more) {
      first ??= performance.now();
      text += more;
      onText(text);
    }
    reason = choice?.finish_reason ?? reason;
    tokens = piece.usage?.completion_tokens ?? tokens;
  }
  const end = performance.now();
  return { text, tokens, seconds: (end - began) / 1000, first: first === null ? null : (first - began) / 1000, reason };
}

/** What an encoder says of a text. */
export async function judge(model, text, signal) {
  const began = performance.now();
  const answer = await post("/luthier/v1/predict", { model, texts: [text] }, { signal });
  return { row: answer.data[0], task: answer.task, seconds: (performance.now() - began) / 1000 };
}

/** A judged row as elements. */
export function judged(row, text) {
  if (row.spans) return spans(text, row.spans);
  if (typeof row.score === "number" && row.label === undefined) return h("p", { class: "big" }, number(row.score, 2));
  if (row.output !== undefined) return h("p", { class: "said" }, row.output);
  const scores = Object.entries(row.scores ?? {}).sort((a, b) => b[1] - a[1]);
  return h("div", null, h("p", { class: "big answer-label" }, row.abstained ? "Not sure" : row.labels ? row.labels.join(", ") || "None" : row.label),
    bars("Scores of the labels", scores.slice(0, MOST_BARS).map(([name, score]) => [name, score, percent(score)]), { most: 1 }),
    scores.length > MOST_BARS ? h("p", { class: "muted small" }, `and ${scores.length - MOST_BARS} more labels`) : null);
}

/** A text with its marks. */
function spans(text, found) {
  const parts = [];
  let at = 0;
  for (const one of [...found].sort((a, b) => a.start - b.start)) {
    if (one.start < at) continue;
    parts.push(text.slice(at, one.start), h("mark", null, text.slice(one.start, one.end), h("small", null, ` ${one.label}`)));
    at = one.end;
  }
  parts.push(text.slice(at));
  return h("div", null, h("p", { class: "said" }, parts), found.length ? null : h("p", { class: "muted small" }, "It marks nothing."));
}
