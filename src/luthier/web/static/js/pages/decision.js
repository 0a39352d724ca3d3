// One decision: the arms side by side, quality against cost, the verdict, and every arm's answers row by row.

import { get, path } from "../api.js";
import { rightTag, told } from "../answer_rows.js";
import { chart } from "../charts.js";
import { byId, debounced, fill, h } from "../dom.js";
import { count, duration, number, several, short } from "../format.js";
import { partPage } from "../part_jobs.js";
import { metricWords } from "../runs.js";
import { paged, table } from "../table.js";
import { list, notice, tag } from "../ui.js";

const LOOKS = { measured: ["measured", "good"], dropped: ["dropped", "even"], failed: ["failed", "wrong"], "not run": ["not run", "even"] };
const FAMILIES = ["baseline", "prompt", "retrieval", "assistant", "fine-tuning"];
const PER_PAGE = 10;
let job = null;
let rowsShown = false;
const parts = {};

const dollars = (value) => (typeof value !== "number" ? "not known" : value < 0.0001 ? "under $0.0001" : value < 0.01 ? `$${value.toFixed(4)}` : `$${value.toFixed(2)}`);
const value = (arm) => arm.metrics?.[job.metric];

/** The arms whose name stands at its point: of points close together, the recommended one's, else the best one's. */
function named(points) {
  const span = (key) => Math.max(...points.map((one) => one[key])) - Math.min(...points.map((one) => one[key])) || 1;
  const [wide, high] = [span("cost") * (matchMedia("(max-width: 42em)").matches ? 1.1 : 0.33), span("value") / 8];
  const taken = (one) => one.arm === job.verdict_details?.arm;
  const kept = [];
  for (const one of [...points].sort((a, b) => taken(b) - taken(a) || b.value - a.value)) {
    if (!kept.some((other) => Math.abs(other.cost - one.cost) < wide && Math.abs(other.value - one.value) < high)) kept.push(one);
  }
  return new Set(kept);
}

function picture() {
  const placed = job.picture.filter((one) => typeof one.value === "number" && typeof one.cost === "number");
  const shown = named(placed);
  const middle = (Math.max(...placed.map((one) => one.cost)) + Math.min(...placed.map((one) => one.cost))) / 2;
  return FAMILIES.map((family, i) => {
    const points = placed.filter((one) => one.family === family);
    return { name: family, mode: "markers+text", slot: i, x: points.map((one) => one.cost), y: points.map((one) => one.value),
      text: points.map((one) => (!shown.has(one) ? "" : one.cost > middle ? `${one.arm}\u2002` : `\u2002${one.arm}`)), hovertext: points.map((one) => one.arm), textposition: points.map((one) => (one.cost > middle ? "middle left" : "middle right")),
      error_y: { type: "data", symmetric: false, array: points.map((one) => (one.high ?? one.value) - one.value), arrayminus: points.map((one) => one.value - (one.low ?? one.value)), thickness: 1 } };
  }).filter((one) => one.x.length);
}

function draw(found) {
  job = found;
  if (!parts.picture) {
    parts.picture = chart("Quality against cost", picture, { x: "dollars for 1,000 requests", y: "", hover: "closest", height: 340, percent: () => /accuracy|f1|match|recall|precision/.test(job.metric ?? ""), xTick: "$~g" });
    fill(byId("body"), h("div", { id: "verdict" }), h("section", { class: "card" }, h("h2", null, "Arms"), h("div", { id: "arms" })), h("section", { class: "card" }, parts.picture.figure), h("section", { class: "card", id: "rows", hidden: true }), h("div", { id: "notes" }));
  }
  const details = job.verdict_details;
  fill(byId("verdict"), details ? h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, details.arm ? `Take ${details.arm}` : "No arm is recommended"), job.rows ? h("span", { class: "muted small" }, Object.entries(job.rows).map(([name, many]) => `${count(many)} ${name}`).join(", ")) : null),
    details.ties.length > 1 ? h("p", { class: "muted flat" }, `Cannot be told apart from the best: ${details.ties.join(", ")}.`) : null,
    details.flips.length ? [h("h3", null, "What would change this"), list(details.flips)] : null) : null);
  const arms = [...job.arms].sort((a, b) => (value(b)?.value ?? -Infinity) - (value(a)?.value ?? -Infinity));
  fill(byId("arms"), arms.length ? table("Arms", [
    { name: "Arm", head: true, words: true, cell: (arm) => [h("strong", null, arm.name), arm.name === details?.arm ? [" ", tag("recommended", "good")] : null, h("span", { class: "muted small block" }, short(arm.detail ?? "", 160))] },
    { name: "State", cell: (arm) => [tag(...LOOKS[arm.state] ?? [arm.state]), arm.why ? h("span", { class: "muted small block" }, short(arm.why, 160)) : null] },
    { name: job.metric ? job.metric.replaceAll("_", " ") : "Quality", number: true, cell: (arm) => (value(arm) && value(arm).value !== null ? [h("strong", null, metricWords(job.metric, value(arm).value)), value(arm).low !== null ? h("span", { class: "muted small block" }, `${metricWords(job.metric, value(arm).low)} to ${metricWords(job.metric, value(arm).high)}`) : null] : "–") },
    { name: "1,000 requests", number: true, cell: (arm) => dollars(arm.cost?.per_1000) },
    { name: "To build", number: true, cell: (arm) => [duration(arm.cost?.build_seconds), typeof arm.cost?.build === "number" ? h("span", { class: "muted small block" }, dollars(arm.cost.build)) : null] },
    { name: "Answers in", number: true, cell: (arm) => (typeof arm.latency_ms !== "number" ? "–" : arm.latency_ms < 0.1 ? "under 0.1 ms" : `${number(arm.latency_ms, 0)} ms`) },
    { name: "Rows", number: true, cell: (arm) => count(arm.rows) },
  ], arms) : h("p", { class: "muted" }, "The first arm is being built."));
  fill(byId("notes"), (job.notes ?? []).filter((one) => !job.warnings.includes(one)).map((one) => notice(one)));
  if (job.picture.length) parts.picture.update();
  if (job.status === "succeeded" && !rowsShown) {
    rowsShown = true;
    byId("rows").hidden = false;
    fill(byId("rows"), h("h2", null, "Every arm's answers, row by row"), answers());
  }
}

function answers() {
  let differing = true;
  let words = "";
  const arms = job.arms.filter((arm) => arm.rows > 0);
  const rows = paged("Answers of the arms", [
    { name: "Text", head: true, words: true, cell: (row) => h("span", { class: "said" }, short(row.text, 400)) },
    { name: "Expected", words: true, cell: (row) => h("span", { class: "said" }, short(told(row.expected), 200)) },
    ...arms.map((arm) => ({ name: arm.name, words: true, cell: (row) => {
      const one = row.answers.find((answer) => answer.arm === arm.name);
      return one ? [h("span", { class: "said block" }, short(told(one.predicted), 200)), rightTag(one)] : "–";
    } })),
  ], async (after) => {
    const page = await get(`${path`/luthier/v1/decisions/${job.id}/answers`}?${new URLSearchParams({ after: after ?? 0, limit: PER_PAGE, differing, ...(words ? { q: words } : {}) })}`);
    return { rows: page.data, next: page.next, total: page.total };
  }, { nothing: () => h("p", { class: "muted" }, differing ? "On no row do some arms answer rightly and others wrongly." : "No such rows."), say: (page) => several(page.total, "row") });
  const box = h("input", { type: "checkbox", checked: differing, onchange: () => {
    differing = box.checked;
    rows.reload({ reset: true });
  } });
  const search = h("input", { type: "search", placeholder: "Search in the texts", "aria-label": "Search in the texts", oninput: debounced(() => {
    words = search.value.trim();
    rows.reload({ reset: true });
  }) });
  return h("div", null, h("div", { class: "row filters" }, h("label", { class: "check" }, box, "Only rows on which they differ"), search), rows.element);
}

partPage("decisions", "decision", async (found) => draw(found));
