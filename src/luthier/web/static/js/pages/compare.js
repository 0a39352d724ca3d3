// Runs side by side: metrics with intervals, what can be told apart, curves, recipe differences, rows that differ.

import { get, path, post } from "../api.js";
import { rightTag, told } from "../answer_rows.js";
import { chart, seriesColour } from "../charts.js";
import { byId, fill, h } from "../dom.js";
import { count, number, several, short } from "../format.js";
import { listRuns, metricWords, runAddress, runName } from "../runs.js";
import { paged, table } from "../table.js";
import { empty, failed, list, loading, notice, select, tag } from "../ui.js";

const MOST = 8;
const PER_PAGE = 10;
const picked = (new URLSearchParams(location.search).get("runs") ?? "").split(",").map((one) => one.trim()).filter(Boolean).slice(0, MOST);
const jobs = new Map();
let choices = [];
let turn = 0;
const named = (name) => name.replaceAll("_", " ");
/** A run's name; where another one here has the same, with the end of its id. */
function nameOf(id) {
  if (!jobs.has(id)) return id;
  const name = runName(jobs.get(id));
  return picked.some((other) => other !== id && jobs.has(other) && runName(jobs.get(other)) === name) ? `${name} (${id.slice(-6)})` : name;
}
const dot = (i) => h("span", { class: "dot", vars: { dot: seriesColour(i) }, "aria-hidden": "true" });

async function draw() {
  history.replaceState(null, "", picked.length ? `/compare?runs=${picked.map(encodeURIComponent).join(",")}` : "/compare");
  fill(byId("picked"), picked.map((id, i) => h("span", { class: "chip" }, dot(i), h("a", { href: runAddress(id) }, nameOf(id)),
    h("button", { type: "button", class: "quiet", "aria-label": `Leave out ${nameOf(id)}`, onclick: () => {
      picked.splice(picked.indexOf(id), 1);
      draw();
    } }, "×"))));
  const free = choices.filter((job) => !picked.includes(job.id));
  fill(byId("add"), picked.length >= MOST ? null : free.length ? select([["", picked.length ? "Add a run…" : "Choose a run…"], ...free.map((job) => [job.id, `${runName(job)} (${job.id.slice(-6)})`])], "", (id) => {
    if (!id) return;
    picked.push(id);
    draw();
  }) : h("p", { class: "muted small" }, "There are no other finished runs."));
  byId("add").querySelector("select")?.setAttribute("aria-label", "Add a run");
  await compare();
}

async function compare() {
  const mine = ++turn;
  const box = byId("result");
  if (picked.length < 2) {
    fill(box, h("div", { class: "card" }, empty("Choose two runs", "Two or more finished runs stand side by side here: which is better, whether that could be chance, and on which rows they differ.")));
    return;
  }
  fill(box, loading(6));
  try {
    const found = await post("/luthier/v1/compare", { jobs: picked, limit: 0 });
    if (mine !== turn) return;
    fill(box, ...parts(found));
  } catch (error) {
    if (mine === turn) fill(box, failed(error, compare));
  }
}

function parts(found) {
  const primary = found.jobs[0]?.primary_metric;
  return [
    found.notes.length ? h("div", null, found.notes.map((one) => notice(one, "warn"))) : null,
    card("Which is better", verdicts(found, primary)),
    card("Metrics", metrics(found), found.shared_rows ? `on ${several(found.shared_rows, "row")} that all were judged on` : "each by its own report: they share no answered rows"),
    card("Curves", curves()),
    card("What their recipes differ in", found.recipe.length ? table("Recipe differences", [{ name: "Setting", head: true, cell: (row) => h("code", null, row.key) },
      ...picked.map((id, i) => ({ name: nameOf(id), words: true, cell: (row) => short(told(row.values[i]), 200) }))], found.recipe) : h("p", { class: "muted" }, "Nothing: their recipes are the same.")),
    found.shared_rows ? card("Rows on which they disagree", rows(found), several(found.disagreements.total, "row")) : null,
  ].filter(Boolean);
}

const card = (title, content, beside) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, title), beside ? h("span", { class: "muted small" }, beside) : null), content);

function verdicts(found, primary) {
  const tests = [...found.comparisons].sort((a, b) => (b.metric === primary) - (a.metric === primary));
  if (!tests.length) return h("p", { class: "muted" }, "They share no rows, so nothing can be tested.");
  return list(tests.slice(0, 30).map((one) => h("div", { class: "verdict-line" },
    one.verdict === "better" ? tag(`${nameOf(one.a)} is better`, "good") : one.verdict === "worse" ? tag(`${nameOf(one.b)} is better`, "good") : tag("Cannot tell apart", "even"),
    h("span", null, `${named(one.metric)}: ${nameOf(one.a)} ${metricWords(one.metric, one.a_value)}, ${nameOf(one.b)} ${metricWords(one.metric, one.b_value)}`),
    h("span", { class: "muted small" }, `difference ${metricWords(one.metric, one.difference.value)} (95 % interval ${metricWords(one.metric, one.difference.low)} to ${metricWords(one.metric, one.difference.high)}), p ${one.p_value < 0.001 ? "< 0.001" : `= ${number(one.p_value)}`}, ${named(one.test)}`))));
}

function metrics(found) {
  const of = (job) => (found.shared_rows ? found.metrics[job.id] : job.metrics) ?? {};
  const names = [...new Set(found.jobs.flatMap((job) => Object.keys(of(job))))];
  return table("Metrics of the runs", [{ name: "Metric", head: true, cell: named },
    ...found.jobs.map((job, i) => ({ name: [dot(i), " ", nameOf(job.id)], number: true, cell: (name) => {
      const one = of(job)[name];
      return one && one.value !== null ? [h("strong", null, metricWords(name, one.value)), one.low !== null ? h("span", { class: "muted small block" }, `${metricWords(name, one.low)} to ${metricWords(name, one.high)}`) : null] : "–";
    } }))], names);
}

function curves() {
  const found = new Map();
  const series = (of, name) => () => picked.map((id, i) => {
    const one = found.get(id)?.[of];
    return { name: nameOf(id), x: one?.step ?? [], y: one?.[name] ?? [], connectgaps: true, slot: i, mode: of === "evaluations" ? "lines+markers" : "lines" };
  });
  const train = chart("Training loss", series("steps", "train_loss"), { x: "step", y: "loss" });
  const valid = chart("Validation loss", series("evaluations", "valid_loss"), { x: "step", y: "loss" });
  for (const id of picked) get(path`/luthier/v1/jobs/${id}/metrics?points=500`).then((one) => {
    found.set(id, one);
    train.update();
    valid.update();
  }).catch((error) => console.debug(error));
  return h("div", { class: "grid wide" }, train.figure, valid.figure);
}

function rows(found) {
  if (!found.disagreements.total) return h("p", { class: "muted" }, "None: they answered every shared row alike.");
  const load = async (after) => {
    const page = (await post("/luthier/v1/compare", { jobs: picked, after: after ?? 0, limit: PER_PAGE })).disagreements;
    return { rows: page.data, next: page.next };
  };
  return paged("Rows on which the runs disagree", [
    { name: "Text", head: true, words: true, cell: (row) => h("span", { class: "said" }, short(row.text ?? "", 500)) },
    { name: "Expected", words: true, cell: (row) => h("span", { class: "said" }, short(told(row.expected), 300)) },
    ...found.jobs.map((job, i) => ({ name: [dot(i), " ", nameOf(job.id)], words: true, cell: (row) => {
      const one = row.answers[i];
      return one ? [h("span", { class: "said block" }, short(told(one.predicted), 300)), rightTag(one)] : "–";
    } })),
  ], load, { say: (page, at) => `${count(at * PER_PAGE + 1)} to ${count(at * PER_PAGE + page.rows.length)} of ${count(found.disagreements.total)}` }).element;
}

async function begin() {
  try {
    choices = (await listRuns(null, 100)).data.filter((job) => job.status === "succeeded");
    for (const job of choices) jobs.set(job.id, job);
    await Promise.all(picked.filter((id) => !jobs.has(id)).map((id) => get(path`/luthier/v1/jobs/${id}`).then((job) => jobs.set(id, job)).catch(() => null)));
    await draw();
  } catch (error) {
    fill(byId("add"), failed(error, begin));
  }
}
begin();
