// One automatic run: the candidates as they train, the best so far, what quality costs, and the winner's report.

import { maybe, path } from "../api.js";
import { chart } from "../charts.js";
import { byId, fill, h } from "../dom.js";
import { count, duration, several } from "../format.js";
import { partPage } from "../part_jobs.js";
import { whole } from "../report.js";
import { isOver, metricWords, timeShare } from "../runs.js";
import { table } from "../table.js";
import { code, list, tag } from "../ui.js";

const LOOKS = { running: ["trains", "live"], paused: ["waits", "even"], complete: ["done", "good"], failed: ["failed", "wrong"], stopped: ["ended early", "even"] };
let job = null;
let reported = false;
const charts = {};

const finite = (one) => typeof one.value === "number" && Number.isFinite(one.value);
const words = (value) => metricWords(job.metric ?? "", value);
const isShare = () => /accuracy|f1|match|recall|precision|auc/.test(job.metric ?? "");
const title = () => job.metric_title ?? (job.metric ?? "Result").replaceAll("_", " ");
const better = (one, other) => (job.higher_is_better ? one > other : one < other);

/** The candidates that count up to now, in the order of their results. */
const timed = () => job.candidates.filter((one) => finite(one) && typeof one.at === "number").sort((one, other) => one.at - other.at);

function grew() {
  const seen = timed();
  let best = null;
  const line = seen.map((one) => (best = best === null || better(one.value, best) ? one.value : best));
  return [
    { name: "Each candidate", mode: "markers", x: seen.map((one) => one.at), y: seen.map((one) => one.value), text: seen.map((one) => one.name), slot: 5 },
    { name: "Best so far", x: seen.map((one) => one.at), y: line, slot: 0, line: { shape: "hv", width: 2 } },
    ...(job.baseline ? [{ name: "Linear model on word counts", x: [seen[0]?.at, seen.at(-1)?.at], y: [job.baseline.value, job.baseline.value], slot: 2, line: { dash: "dot" } }] : []),
  ];
}

function cost() {
  const seen = job.candidates.filter((one) => finite(one) && typeof one.seconds_of_all === "number");
  const groups = [["Winner", (one) => one.number === job.best?.trial, 0], ["No other is better in everything", (one) => one.pareto && one.number !== job.best?.trial, 1], ["Others", (one) => !one.pareto && one.number !== job.best?.trial, 5]];
  return groups.map(([name, is, slot]) => {
    const members = seen.filter(is);
    return { name, mode: "markers", slot, x: members.map((one) => one.seconds_of_all), y: members.map((one) => one.value), text: members.map((one) => one.name) };
  }).filter((one) => one.x.length);
}

/** What is at work first, then the best, then by value, then what has none. */
function sorted(rows) {
  const rank = (one) => (one.state === "running" ? 0 : one.number === job.best?.trial ? 1 : finite(one) ? 2 : 3);
  return [...rows].sort((one, other) => rank(one) - rank(other) || (finite(one) && finite(other) && one.value !== other.value ? (better(one.value, other.value) ? -1 : 1) : one.number - other.number));
}

function candidateTable(rows, caption) {
  const over = rows.some((one) => one.trainable_parameters);
  return table(caption, [
    { name: "Candidate", head: true, words: true, cell: (one) => [one.name, one.number === job.best?.trial ? [" ", tag(isOver(job) ? "winner" : "best so far", "good")] : null] },
    { name: "State", cell: (one) => [tag(...(one.stopped_early ? ["no better", "even"] : LOOKS[one.state] ?? [one.state])), one.error ? h("span", { class: "small block" }, one.error) : null] },
    { name: title(), number: true, cell: (one) => (finite(one) ? words(one.value) : "–") },
    { name: "Epochs", number: true, cell: (one) => `${count(one.epoch)} of ${count(one.epochs)}` },
    { name: "Trained", number: true, cell: (one) => duration(one.seconds) },
    ...(over ? [{ name: "Trained weights", number: true, cell: (one) => count(one.trainable_parameters) }] : []),
  ], rows);
}

function lead() {
  const { best, usable } = job;
  if (!best) return isOver(job) ? null : h("section", { class: "card" }, h("p", { class: "muted flat" }, job.status === "running" ? "The data are being read; the first model comes within a minute." : "It has not begun; the time budget begins with it."));
  return h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, job.status === "succeeded" ? `The winner: ${best.name}` : job.status === "cancelled" ? `The best until then: ${best.name}` : `Best so far: ${best.name}`), finite(best) ? h("strong", { class: "big" }, words(best.value)) : null),
    usable ? h("p", { class: "flat" }, tag("a model is there", "good"), ` ${usable.name}${finite(usable) ? `, ${words(usable.value)}` : ""}: try it while the rest trains; a better one takes its place under the same name. Cancel whenever you like, and it is kept.`) : null,
    job.rows ? h("p", { class: "muted small flat" }, `${several(job.rows.train, "row")} to learn, ${count(job.rows.validation)} to compare candidates on${job.rows.test ? `, ${count(job.rows.test)} to judge the winner` : ""}. ${duration(job.seconds)} of ${duration(job.budget_seconds)} were used.`) : null);
}

function draw(found) {
  job = found;
  if (!charts.grew) {
    const look = { y: "", hover: "closest", height: 280, percent: isShare };
    charts.grew = chart("How the best grew", grew, { ...look, x: "seconds of the budget" });
    charts.cost = chart("Quality against training time", cost, { ...look, x: "seconds of training" });
    fill(byId("body"), h("div", { id: "best" }), h("div", { id: "report", hidden: true }), h("section", { class: "card", id: "candidates" }), h("div", { class: "grid wide", id: "charts", hidden: true }, h("section", { class: "card" }, charts.grew.figure), h("section", { class: "card", id: "cost", hidden: true }, charts.cost.figure)),
      h("section", { class: "card", id: "pareto", hidden: true }), h("section", { class: "card", id: "recipe", hidden: true }), h("section", { class: "card", id: "notes", hidden: true }));
  }
  fill(byId("best"), lead());
  fill(byId("candidates"), h("div", { class: "card-head" }, h("h2", null, "Candidates"), h("span", { class: "muted small" }, counts())), job.candidates.length ? candidateTable(sorted(job.candidates), "Candidates") : h("p", { class: "muted flat" }, isOver(job) ? "None was trained." : "They stand here as soon as the first one trains."));
  byId("charts").hidden = timed().length < 2;
  if (timed().length >= 2) charts.grew.update();
  byId("cost").hidden = !job.candidates.some((one) => one.seconds_of_all);
  if (!byId("cost").hidden) charts.cost.update();
  const front = job.candidates.filter((one) => one.pareto || one.number === job.best?.trial);
  byId("pareto").hidden = !job.candidates.some((one) => one.pareto);
  if (!byId("pareto").hidden) fill(byId("pareto"), h("h2", null, "The choice"), h("p", { class: "muted small" }, "The winner, and the candidates that no other beats in quality, training time and trained weights together."), paretoTable(front));
  byId("recipe").hidden = !job.recipe;
  if (job.recipe && !byId("recipe").childElementCount) fill(byId("recipe"), h("details", null, h("summary", null, "The winner's recipe"), code(JSON.stringify(job.recipe, null, 2), "Recipe")));
  byId("notes").hidden = !job.notes?.length;
  if (job.notes?.length) fill(byId("notes"), h("h2", null, "Notes"), list(job.notes));
}

const paretoTable = (rows) => table("The choice", [
  { name: "Candidate", head: true, words: true, cell: (one) => [one.name, one.number === job.best?.trial ? [" ", tag("winner", "good")] : null] },
  { name: title(), number: true, cell: (one) => words(one.value) },
  { name: "Whole training", number: true, cell: (one) => duration(one.seconds_of_all) },
  { name: "Trained weights", number: true, cell: (one) => count(one.trainable_parameters) },
], [...rows].filter(finite).sort((one, other) => (one.seconds_of_all ?? 0) - (other.seconds_of_all ?? 0)));

function counts() {
  const states = new Map();
  for (const one of job.candidates) states.set(one.state, (states.get(one.state) ?? 0) + 1);
  return [...states].map(([state, many]) => `${count(many)} ${LOOKS[state]?.[0] ?? state}`).join(", ");
}

async function report() {
  reported = true;
  const found = job.final ? await maybe(path`/luthier/v1/jobs/${job.id}/report.json`) : null;
  if (!found) return;
  byId("report").hidden = false;
  fill(byId("report"), whole(job.id, found));
}

partPage("autos", "automatic run", async (found) => {
  if (document.activeElement && byId("candidates")?.contains(document.activeElement)) return;
  draw(found);
  if (found.status === "succeeded" && !reported) await report();
}, {
  warnings: false,
  share: timeShare,
  stand: (one, left) => (left === null ? "Starting" : `${duration(left)} of ${duration(one.budget_seconds)} left, ${several(one.candidates.length, "candidate")} begun`),
  cancelled: (one) => (one.usable ? `It stops, and the best model so far is kept: ${one.usable.name}.` : "It stops and gives no model: none is there yet."),
});
