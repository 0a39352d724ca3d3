// Parts of a model or endpoint in a dialog: lineage, exports, traffic, and how programs call it.

import { ApiError, get, maybe, path, post, role } from "./api.js";
import { bars, chart } from "./charts.js";
import { fill, h } from "./dom.js";
import { bytes, count, number, several } from "./format.js";
import { runAddress } from "./runs.js";
import { code, during, empty, facts, list, loading, select, show, statusTag, tabs, tag, when } from "./ui.js";

/** How programs call a model. */
export function snippets(model, kind) {
  const base = location.origin;
  const name = JSON.stringify(model);
  if (kind === "encoder") return tabs("Programs", [
    ["curl", code(`curl ${base}/luthier/v1/predict \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\\n  -d '{"model": ${name}, "texts": ["Where is my parcel?"]}'`, "curl")],
    ["Python", code(`import os, httpx\n\nanswer = httpx.post(\n    "${base}/luthier/v1/predict",\n    headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},\n    json={"model": ${name}, "texts": ["Where is my parcel?"]},\n)\nprint(answer.json()["data"])`, "Python")],
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
    const found = await maybe(`/luthier/v1/models/${one.id.split("/").map(encodeURIComponent).join("/")}/lineage`);
    return found ? lineageView(found) : h("p", { class: "muted" }, "Its history is not known.");
  });
  return tabs("Parts of the model", [["Where it came from", lineage], ["Export", exportsView(one)], ["Call it", snippets(one.id, one.kind)]]);
}

function lineageView(found) {
  return h("pre", null, JSON.stringify(found, null, 1));
}

function exportsView(one) {
  return h("div");
}

export function traffic(endpoint) {
  return h("div");
}
