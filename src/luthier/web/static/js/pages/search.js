// One search: trials as they run, what mattered, parallel coordinates, the trade-off; a trial becomes a run.

import { get, path, post, role } from "../api.js";
import { bars, chart } from "../charts.js";
import { byId, fill, h } from "../dom.js";
import { count, duration, number, percent } from "../format.js";
import { partPage } from "../part_jobs.js";
import { parallel } from "../parallel.js";
import { metricWords } from "../runs.js";
import { table } from "../table.js";
import { during, notice, tag } from "../ui.js";

const LOOKS = { running: ["running", "live"], paused: ["waits", "even"], pruned: ["stopped early", "even"], complete: ["done", "good"], failed: ["failed", "wrong"] };
const MOST_ROWS = 300;
let trials = [];
let job = null;
const charts = {};

const told = (value) => (typeof value === "number" ? number(value, 4) : String(value));
const finite = (trial) => typeof trial.value === "number" && Number.isFinite(trial.value);

async function all(id) {
  const found = [];
  let after = 0;
  do {
    const page = await get(path`/luthier/v1/searches/${id}/trials?after=${after}&limit=1000`);
    found.push(...page.data);
    after = page.next;
  } while (after !== null);
  return found;
}

function history_() {
  const seen = trials.filter(finite);
  const higher = job.higher_is_better ?? guessed();
  let best = null;
  return [
    { name: "Each trial", mode: "markers", x: seen.map((one) => one.number), y: seen.map((one) => one.value), slot: 5 },
    { name: "Best so far", x: seen.map((one) => one.number), y: seen.map((one) => (best = best === null ? one.value : higher ? Math.max(best, one.value) : Math.min(best, one.value))), slot: 0, line: { shape: "hv", width: 2 } },
  ];
}

const guessed = () => !/loss|error|perplexity|mae|rmse/.test(job.metric ?? "");

/** Every trial with a result as a line over its settings. */
function coordinates() {
  const seen = trials.filter(finite);
  const higher = job.higher_is_better ?? guessed();
  const values = seen.map((one) => one.value);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const good = (value) => (high > low ? (higher ? value - low : high - value) / (high - low) : 1);
  const axes = [...job.parameters.map((one) => ({ label: plain(one.name), log: one.log })), { label: job.metric_title ?? job.metric ?? "result" }];
  return parallel("Settings and results together", axes, seen.map((one) => ({ values: [...job.parameters.map((parameter) => one.params[parameter.name]), one.value], result: good(one.value), best: one.number === job.best?.trial, title: `Trial ${one.number}: ${metricWords(job.metric ?? "", one.value)}` })));
}

/** "train.batch_size" as "batch size". */
const plain = (name) => name.split(".").pop().replaceAll("_", " ");

function draw(found) {
  job = found;
  const best = job.best;
  if (!charts.history) {
    charts.history = chart("Result of each trial", history_, { x: "trial", y: "", hover: "closest", height: 280, percent: () => /accuracy|f1|match|recall|precision|auc/.test(job.metric ?? "") });
    fill(byId("body"), h("div", { id: "best" }), h("div", { class: "grid wide" }, h("section", { class: "card" }, charts.history.figure), h("section", { class: "card", id: "importance" })),
      h("section", { class: "card", id: "coordinates", hidden: true }), h("section", { class: "card", id: "pareto", hidden: true }), h("section", { class: "card", id: "trials" }), h("div", { id: "notes" }));
  }
  fill(byId("best"), best ? h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, `${job.status === "succeeded" ? "The best" : "Best so far"}: trial ${best.trial}`), typeof best.value === "number" ? h("strong", { class: "big" }, metricWords(job.metric ?? "", best.value)) : null),
    h("dl", null, Object.entries(best.params ?? {}).map(([name, value]) => [h("dt", null, plain(name)), h("dd", null, h("code", null, told(value)))])),
    job.luck ? h("p", { class: "muted small flat" }, luckWords(job.luck)) : null) : null);
  const shares = Object.entries(job.importance?.shares ?? {});
  fill(byId("importance"), h("h2", null, "What mattered"), shares.length ? bars("Importance of the settings", shares.map(([name, share]) => [plain(name), share, percent(share, 0)]), { most: 1 }) : null,
    h("p", { class: "muted small" }, shares.length ? `By ${job.importance.method} over ${count(job.importance.trials)} trials.` : job.importance?.why_not || "It is told when the search is over and at least 12 trials can be compared."));
  const onFront = job.pareto?.trials ?? [];
  byId("pareto").hidden = onFront.length === 0;
  if (onFront.length) fill(byId("pareto"), h("h2", null, "The best trade-offs"), trialTable(trials.filter((one) => onFront.includes(one.number)), `Trials that no other beats in all of ${job.pareto.objectives.join(", ")}`));
  fill(byId("trials"), h("div", { class: "card-head" }, h("h2", null, "Trials"), h("span", { class: "muted small" }, counts())), trialTable([...trials].reverse().slice(0, MOST_ROWS), "Trials"), trials.length > MOST_ROWS ? h("p", { class: "muted small" }, `The newest ${MOST_ROWS} of ${count(trials.length)}.`) : null);
  fill(byId("notes"), (job.notes ?? []).map((one) => notice(one)));
  const seen = trials.filter(finite).length;
  byId("coordinates").hidden = seen < 2;
  if (seen >= 2) fill(byId("coordinates"), coordinates());
  if (seen) charts.history.update();
}

function luckWords(luck) {
  const words = { confirmed: "Trained again with other seeds, it stayed better than the runner-up.", reversed: "Trained again with other seeds, the runner-up was better: it is the one that is kept." }[luck.verdict] ?? "Trained again with other seeds, it cannot be told apart from the runner-up.";
  return typeof luck.optimism === "number" && Math.abs(luck.optimism) > 1e-9 ? `${words} Its first result was ${number(luck.optimism, 4)} better than it is on average.` : words;
}

function counts() {
  const states = new Map();
  for (const one of trials) states.set(one.state, (states.get(one.state) ?? 0) + 1);
  return [...states].map(([state, many]) => `${count(many)} ${LOOKS[state]?.[0] ?? state}`).join(", ");
}

const trialTable = (rows, caption) => table(caption, [
  { name: "Trial", head: true, cell: (one) => [`Trial ${one.number}`, one.number === job.best?.trial ? [" ", tag("best", "good")] : null] },
  { name: "State", cell: (one) => [tag(...LOOKS[one.state] ?? [one.state]), one.error ? h("span", { class: "small block" }, one.error) : null] },
  { name: job.metric_title ?? job.metric ?? "Result", number: true, cell: (one) => (finite(one) ? metricWords(job.metric ?? "", one.value) : "–") },
  { name: "Epochs", number: true, cell: (one) => (one.epochs ? `${number(one.epoch, 1)} of ${one.epochs}` : "–") },
  ...job.parameters.slice(0, 6).map((parameter) => ({ name: plain(parameter.name), number: true, cell: (one) => (one.params[parameter.name] === undefined ? "–" : told(one.params[parameter.name])) })),
  { name: "Took", number: true, cell: (one) => duration(one.seconds) },
  { name: h("span", { class: "unseen" }, "Promote"), cell: (one) => (role === "read" || !["complete", "pruned"].includes(one.state) ? null : h("button", { type: "button", class: "button small", onclick: (event) => during(event.currentTarget, () => promote(one)) }, "Train it", h("span", { class: "unseen" }, ` as trial ${one.number}`))) },
], rows);

async function promote(trial) {
  const made = await post(path`/luthier/v1/searches/${job.id}/trials/${trial.number}/promote`, { metadata: { name: `${job.metadata?.name ?? job.suffix ?? "search"} trial ${trial.number}`.slice(0, 100) } });
  location.assign(path`/runs/${made.id}`);
}

partPage("searches", "search", async (found) => {
  if (document.activeElement && byId("trials")?.contains(document.activeElement)) return;
  trials = await all(found.id);
  draw(found);
});
