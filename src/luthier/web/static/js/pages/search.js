// One search: trials as they run, what mattered, parallel coordinates, the trade-off; a trial becomes a run.

import { get, path, post, role } from "../api.js";
import { bars, chart, seriesColour } from "../charts.js";
import { byId, fill, h } from "../dom.js";
import { count, duration, number, percent } from "../format.js";
import { partPage } from "../part_jobs.js";
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

/** Text values become places on an axis; numbers that were searched by their logarithm are shown so. */
function coordinates() {
  const seen = trials.filter(finite).slice(0, 2000);
  const axes = job.parameters.map((one) => {
    const values = seen.map((trial) => trial.params[one.name]);
    if (values.some((value) => typeof value !== "number")) {
      const words = [...new Set(values.map((value) => String(value ?? "none")))];
      return { label: one.name, values: values.map((value) => words.indexOf(String(value ?? "none"))), tickvals: words.map((_, i) => i), ticktext: words.map((word) => word.slice(0, 24)) };
    }
    if (!one.log) return { label: one.name, values };
    const logs = values.map((value) => Math.log10(value));
    const marks = [Math.min(...logs), (Math.min(...logs) + Math.max(...logs)) / 2, Math.max(...logs)];
    return { label: one.name, values: logs, tickvals: marks, ticktext: marks.map((mark) => (10 ** mark).toPrecision(2)) };
  });
  axes.push({ label: job.metric ?? "result", values: seen.map((one) => one.value) });
  return [{ type: "parcoords", dimensions: axes, line: { color: seen.map((one) => one.value), colorscale: [[0, seriesColour(5)], [1, seriesColour(0)]], reversescale: !(job.higher_is_better ?? guessed()) } }];
}

function draw(found) {
  job = found;
  const best = job.best;
  if (!charts.history) {
    charts.history = chart("Result of each trial", history_, { x: "trial", y: "", hover: "closest", height: 280 });
    charts.coordinates = chart("Settings and results together", coordinates, { height: 320, layout: { margin: { l: 60, r: 60, t: 50, b: 20 } }, bare: false });
    fill(byId("body"), h("div", { id: "best" }), h("div", { class: "grid wide" }, h("section", { class: "card" }, charts.history.figure), h("section", { class: "card", id: "importance" })),
      h("section", { class: "card" }, charts.coordinates.figure), h("section", { class: "card", id: "pareto", hidden: true }), h("section", { class: "card", id: "trials" }), h("div", { id: "notes" }));
  }
  fill(byId("best"), best ? h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, `Best so far: trial ${best.trial}`), typeof best.value === "number" ? h("strong", { class: "big" }, metricWords(job.metric ?? "", best.value)) : null),
    h("dl", null, Object.entries(best.params ?? {}).map(([name, value]) => [h("dt", null, name), h("dd", null, h("code", null, told(value)))])),
    job.luck ? h("p", { class: "muted small flat" }, luckWords(job.luck)) : null) : null);
  const shares = Object.entries(job.importance?.shares ?? {});
  fill(byId("importance"), h("h2", null, "What mattered"), shares.length ? bars("Importance of the settings", shares.map(([name, share]) => [name, share, percent(share, 0)]), { most: 1 }) : null,
    h("p", { class: "muted small" }, shares.length ? `By ${job.importance.method} over ${count(job.importance.trials)} trials.` : job.importance?.why_not || "It is told when the search is over and at least 12 trials can be compared."));
  const onFront = job.pareto?.trials ?? [];
  byId("pareto").hidden = onFront.length === 0;
  if (onFront.length) fill(byId("pareto"), h("h2", null, "The best trade-offs"), trialTable(trials.filter((one) => onFront.includes(one.number)), `Trials that no other beats in all of ${job.pareto.objectives.join(", ")}`));
  fill(byId("trials"), h("div", { class: "card-head" }, h("h2", null, "Trials"), h("span", { class: "muted small" }, counts())), trialTable([...trials].reverse().slice(0, MOST_ROWS), "Trials"), trials.length > MOST_ROWS ? h("p", { class: "muted small" }, `The newest ${MOST_ROWS} of ${count(trials.length)}.`) : null);
  fill(byId("notes"), (job.notes ?? []).map((one) => notice(one)));
  if (trials.some(finite)) Object.values(charts).forEach((one) => one.update());
}

function luckWords(luck) {
  const words = { confirmed: "Trained again with other seeds, it stayed better than the runner-up.", reversed: "Trained again with other seeds, the runner-up was better: it is the one that is kept." }[luck.verdict] ?? "Trained again with other seeds, it cannot be told apart from the runner-up.";
  return typeof luck.optimism === "number" ? `${words} Its first result was ${number(luck.optimism, 4)} better than it is on average.` : words;
}

function counts() {
  const states = new Map();
  for (const one of trials) states.set(one.state, (states.get(one.state) ?? 0) + 1);
  return [...states].map(([state, many]) => `${count(many)} ${LOOKS[state]?.[0] ?? state}`).join(", ");
}

const trialTable = (rows, caption) => table(caption, [
  { name: "Trial", head: true, number: true, cell: (one) => [String(one.number), one.number === job.best?.trial ? [" ", tag("best", "good")] : null] },
  { name: "State", cell: (one) => [tag(...LOOKS[one.state] ?? [one.state]), one.error ? h("span", { class: "small block" }, one.error) : null] },
  { name: job.metric_title ?? job.metric ?? "Result", number: true, cell: (one) => (finite(one) ? metricWords(job.metric ?? "", one.value) : "–") },
  { name: "Epochs", number: true, cell: (one) => (one.epochs ? `${number(one.epoch, 1)} of ${one.epochs}` : "–") },
  ...job.parameters.slice(0, 6).map((parameter) => ({ name: parameter.name, number: true, cell: (one) => (one.params[parameter.name] === undefined ? "–" : told(one.params[parameter.name])) })),
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
