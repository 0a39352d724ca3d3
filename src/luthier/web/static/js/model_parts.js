// Parts of a model or endpoint in a dialog: lineage, exports, traffic, and how programs call it.

import { maybe, path, post, role } from "./api.js";
import { chart, seriesColour } from "./charts.js";
import { fill, h } from "./dom.js";
import { bytes, count, number, several } from "./format.js";
import { runAddress } from "./runs.js";
import { every } from "./stream.js";
import { code, during, list, loading, select, show, statusTag, tabs, tag, when } from "./ui.js";

/** How programs call a model. */
export function snippets(model, kind) {
  const base = location.origin;
  const name = JSON.stringify(model);
  if (kind === "encoder") return tabs("Programs", [
    ["curl", code(`curl ${base}/luthier/v1/predict \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\\n  -d '{"model": ${name}, "texts": ["Where is my parcel?"]}'`, "curl")],
    ["Python", code(`import json, os, urllib.request\n\nasked = urllib.request.Request(\n    "${base}/luthier/v1/predict",\n    json.dumps({"model": ${name}, "texts": ["Where is my parcel?"]}).encode(),\n    {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"},\n)\nprint(json.load(urllib.request.urlopen(asked))["data"])`, "Python")],
  ]);
  return tabs("Programs", [
    ["curl", code(`curl ${base}/v1/chat/completions \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\\n  -d '{"model": ${name}, "messages": [{"role": "user", "content": "Hello"}]}'`, "curl")],
    ["Python", code(`from openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1")  # reads OPENAI_API_KEY\nanswer = client.chat.completions.create(\n    model=${name}, messages=[{"role": "user", "content": "Hello"}]\n)\nprint(answer.choices[0].message.content)`, "Python")],
  ]);
}

/** A tuned model whole: where it came from, exports, calls. */
export function modelDetails(one) {
  const lineage = h("div", null, loading(3));
  show(lineage, async () => {
    const found = await maybe(`/luthier/v1/models/${chain(one.id)}/lineage`);
    return found ? lineageView(found) : h("p", { class: "muted" }, "Its history is not known.");
  });
  return tabs("Parts of the model", [["Where it came from", lineage], ["Export", exportsView(one)], ["Call it", snippets(one.id, one.kind)]]);
}

const chain = (model) => model.split("/").map(encodeURIComponent).join("/");

function lineageView(found) {
  const step = (title, ...content) => h("li", null, h("span", { class: "muted small block" }, title), content);
  return h("ol", { class: "lineage" },
    step("Data", found.data.map((one) => h("span", { class: "block" }, one.dataset ? h("a", { href: path`/data/${one.dataset}?version=${one.version}` }, `${one.dataset_name}, version ${one.version}`) : one.filename ?? "a file that was deleted", h("span", { class: "muted small" }, ` ${one.role}${one.rows ? `, ${several(one.rows, "row")}` : ""}`)))),
    step("Starts from", found.base_model, found.parents.length ? h("span", { class: "muted small mono block" }, `by way of ${[...found.parents].reverse().join(", ")}`) : null),
    step("Run", h("a", { href: runAddress(found.run.id) }, found.run.id), " ", statusTag(found.run.status), h("span", { class: "muted small block" }, `${found.method}${found.step ? `, step ${found.step}` : ""}`)),
    step("Model", h("span", { class: "mono small" }, found.model), h("span", { class: "muted small block" }, when(found.created_at)), found.checkpoints.length ? h("span", { class: "muted small block" }, several(found.checkpoints.length, "checkpoint")) : null),
    step("Goes on in", found.children.length ? found.children.map((one) => h("span", { class: "block" }, h("a", { href: runAddress(one.id) }, one.fine_tuned_model ?? one.id), " ", statusTag(one.status))) : h("span", { class: "muted" }, "no other run")),
    step("Endpoints", found.endpoints.length ? found.endpoints.map((one) => h("span", { class: "block" }, one.name, " ", tag(one.state, one.state === "running" ? "live" : "even"))) : h("span", { class: "muted" }, "none")));
}

const FORMS = [["merged", "Plain weights (transformers)"], ["adapter", "The adapter alone (PEFT)"], ["gguf", "GGUF (llama.cpp)"], ["onnx", "ONNX"]];
const EXPORT_SECONDS = 2;

/** Exports of a model: what was made, and a form for one more. */
function exportsView(one) {
  const address = `/luthier/v1/models/${chain(one.id)}/exports`;
  const box = h("div", null, loading(2));
  const draw = async () => {
    const found = await maybe(address);
    if (found === null) return h("p", { class: "muted" }, "This server makes no exports.");
    if (found.data.some((each) => each.status === "running")) setTimeout(() => box.isConnected && show(box, draw), 1000 * EXPORT_SECONDS);
    return h("div", null, found.data.length ? list(found.data.slice(0, 20).map((each) => h("div", { class: "card-head flat" },
      h("span", null, FORMS.find(([form]) => form === each.to)?.[1] ?? each.to, each.dtype ? ` ${each.dtype}` : "", h("span", { class: "muted small block" }, each.error ? each.error.message : each.status === "running" ? "is being made and compared with the model" : bytes(each.bytes))),
      each.status === "succeeded" ? h("a", { class: "button small", href: `${address}/${encodeURIComponent(each.id)}/content`, download: each.filename }, "Download") : tag(each.status, each.status === "failed" ? "wrong" : "live")))) : h("p", { class: "muted" }, "Nothing was exported yet. An export is compared with the model before it is offered."));
  };
  const form = select(FORMS, "merged");
  form.setAttribute("aria-label", "Form of the export");
  show(box, draw);
  return h("div", null, role === "read" ? null : h("form", { class: "row filters", onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => {
      await post(address, { to: form.value });
      await show(box, draw);
    });
  } }, form, h("button", { class: "button" }, "Export")), box);
}

const SPANS = [["3600", "The last hour"], ["86400", "The last day"], ["604800", "The last week"]];

/** Requests and latencies of an endpoint. */
export function traffic(endpoint) {
  let found = null;
  let seconds = "3600";
  const time = (points) => points.map((point) => new Date(point.start * 1000));
  const requests = chart("Requests", () => (found ? [{ name: "Answered", type: "bar", x: time(found.data), y: found.data.map((point) => point.requests - point.errors), marker: { color: seriesColour(0) } }, { name: "Errors", type: "bar", x: time(found.data), y: found.data.map((point) => point.errors), marker: { color: seriesColour(1) } }] : []), { y: "", height: 200, fromZero: true, layout: { barmode: "stack", bargap: 0.1 }, bare: true });
  const latency = chart("Seconds until an answer is whole", () => (found ? [["50", "Half are faster"], ["95", "95 % are faster"]].map(([name, words], i) => ({ name: words, x: time(found.data), y: found.data.map((point) => point[`seconds_p${name}`]), connectgaps: false, mode: "lines+markers", slot: i })) : []), { y: "s", height: 200, fromZero: true, bare: true });
  const numbers = h("div", { class: "figures" }, loading(1));
  const draw = async () => {
    const answer = await maybe(`${path`/luthier/v1/endpoints/${endpoint.id}/traffic`}?seconds=${seconds}`);
    if (answer === null) return numbers.replaceChildren(h("p", { class: "muted" }, "Traffic is not counted on this server."));
    found = answer;
    const { total } = found;
    fill(numbers, [["Requests", count(total.requests)], ["Errors", count(total.errors)], ["Tokens written", count(total.completion_tokens)], ["Half within", total.seconds_p50 === null ? "–" : `${number(total.seconds_p50, 2)} s`], ["95 % within", total.seconds_p95 === null ? "–" : `${number(total.seconds_p95, 2)} s`]].map(([name, words]) => h("div", null, h("span", { class: "muted" }, name), h("span", { class: "value" }, words))));
    requests.update();
    latency.update();
    return undefined;
  };
  const span = select(SPANS, seconds, (value) => {
    seconds = value;
    draw().catch((error) => fill(numbers, h("p", { class: "muted" }, error.message)));
  });
  span.setAttribute("aria-label", "Time");
  let begun = false;
  every(5, async () => {
    if (begun && !numbers.isConnected) return false; // the dialog was closed
    begun = true;
    await draw().catch((error) => fill(numbers, h("p", { class: "muted" }, error.message)));
    return true;
  });
  return h("div", { class: "stack" }, span, numbers, h("div", { class: "grid wide" }, h("div", null, h("h3", null, "Requests"), requests.figure), h("div", null, h("h3", null, "Seconds until an answer is whole"), latency.figure)));
}
