// A report of a finished run as parts of a page: the verdict, the numbers beside the baselines, and where it is wrong.

import { path } from "./api.js";
import { answers } from "./answer_rows.js";
import { h } from "./dom.js";
import { bars } from "./charts.js";
import { bytes, count, duration, percent, several } from "./format.js";
import { metricWords } from "./runs.js";
import { table } from "./table.js";
import { bar, facts, list, notice, tabs, tag } from "./ui.js";

const LOOKS = { better: ["better", "good"], worse: ["worse", "wrong"] };
const named = (name) => name.replaceAll("_", " ");
const cell = (name, one) => (one && typeof one.value === "number" ? metricWords(name, one.value) : "–");
const range = (name, one) => (one && typeof one.low === "number" ? `${metricWords(name, one.low).replace(/\u00a0%$/, "")} to ${metricWords(name, one.high)}` : "");

/** The whole report of the job `id`, with every answer, and as a page to download. */
export const whole = (id, report) => h("div", { class: "stack" }, verdict(report), h("div", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, "Report"),
  h("a", { href: path`/luthier/v1/jobs/${id}/report.html`, download: "" }, "Download as a page")), tabs("Parts of the report", [...sections(report), ["Every answer", answers(id)]])));

/** What a person wants to know first. */
function verdict(report) {
  const primary = report.metrics?.[report.primary_metric];
  return h("div", { class: "card verdict" },
    h("div", { class: "figures" },
      h("div", null, h("span", { class: "muted" }, named(report.primary_metric)), h("span", { class: "big" }, cell(report.primary_metric, primary)), h("span", { class: "muted" }, range(report.primary_metric, primary))),
      (report.comparisons ?? []).filter((one) => one.metric === report.primary_metric).slice(0, 3).map((one) => h("div", null,
        h("span", { class: "muted" }, named(one.name)), h("span", { class: "big soft" }, metricWords(one.metric, one.theirs)), comparisonTag(one)))),
    h("p", { class: "lead-in" }, report.verdict.replaceAll(" %", "\u00a0%")),
    (report.warnings ?? []).slice(0, 5).map((one) => notice(typeof one === "string" ? one : one.message ?? JSON.stringify(one), "warn")));
}

export function comparisonTag(one) {
  const [words, look] = LOOKS[one.verdict] ?? ["cannot tell apart", "even"];
  return tag(words === "cannot tell apart" ? words : `this run is ${words}`, look);
}

/** Everything else, as tabs: [name, element]. */
function sections(report) {
  const parts = [["Numbers", numbers(report)]];
  if (report.per_class && Object.keys(report.per_class).length) parts.push(["Labels", labels(report)]);
  const wrong = report.worst_errors ?? [];
  if (wrong.length) parts.push(["Where it is wrong", errors(wrong)]);
  const answers = report.samples ?? report.examples ?? [];
  if (Array.isArray(answers) && answers.length && typeof answers[0] === "object") parts.push(["Answers", samples(answers)]);
  parts.push(["Cost", cost(report)]);
  return parts;
}

function numbers(report) {
  const others = Object.keys(report.baselines ?? {});
  const names = Object.keys(report.metrics ?? {});
  return [table("Metrics on the test rows", [
    { name: "Metric", head: true, cell: (name) => named(name) },
    { name: "This run", number: true, cell: (name) => h("strong", null, cell(name, report.metrics[name])) },
    { name: "95 % interval", number: true, cell: (name) => h("span", { class: "muted" }, range(name, report.metrics[name])) },
    ...others.map((other) => ({ name: named(other), number: true, cell: (name) => cell(name, report.baselines[other]?.[name]) })),
  ], names), (report.comparisons ?? []).length ? list(report.comparisons.map((one) => [comparisonTag(one), " ", h("span", { class: "small" }, `${named(one.metric)}: ${one.sentence}`)])) : null,
  report.overfitting?.sentence ? h("p", { class: "muted small" }, report.overfitting.sentence) : null];
}

function labels(report) {
  const every = Object.entries(report.per_class).sort((a, b) => (a[1].f1 ?? 0) - (b[1].f1 ?? 0));
  const pairs = report.confusion?.pairs ?? [];
  return [table("Each label", [
    { name: "Label", head: true, cell: ([name]) => name },
    { name: "F1", number: true, cell: ([, one]) => [bar(one.f1), " ", percent(one.f1)] },
    { name: "Precision", number: true, cell: ([, one]) => percent(one.precision) },
    { name: "Recall", number: true, cell: ([, one]) => percent(one.recall) },
    { name: "Rows", number: true, cell: ([, one]) => count(one.support) },
  ], every.slice(0, 200)),
  pairs.length ? h("h3", null, "What it mixes up") : null,
  pairs.length ? bars("What it mixes up", pairs.slice(0, 8).map((one) => [`${one.expected} taken for ${one.predicted}`, one.count, several(one.count, "row")])) : null];
}

const errors = (rows) => table("Rows that it got most wrong", [
  { name: "Text", words: true, cell: (one) => h("span", { class: "said" }, one.text ?? "") },
  { name: "Expected", words: true, cell: (one) => String(one.expected ?? "") },
  { name: "It said", words: true, cell: (one) => String(one.predicted ?? "") },
  { name: "Sure by", number: true, cell: (one) => (typeof one.score === "number" ? percent(one.score, 0) : "–") },
  { name: "Line", number: true, cell: (one) => count(one.line) },
], rows.slice(0, 50));

const textOf = (value) => (typeof value === "string" ? value : value === null || value === undefined ? "" : JSON.stringify(value));
function samples(rows) {
  const names = Object.keys(rows[0]).filter((name) => ["string", "object"].includes(typeof rows[0][name])).slice(0, 4);
  return table("Answers", names.map((name) => ({ name: named(name), words: true, cell: (one) => h("span", { class: "said" }, textOf(one[name])) })), rows.slice(0, 30));
}

function cost(report) {
  const one = report.cost ?? {};
  return facts([["Training took", duration(one.seconds)], ["Tokens read", count(one.tokens)], ["Tokens a second", one.tokens_per_second ? count(Math.round(one.tokens_per_second)) : ""],
    ["Most memory", one.peak_memory_bytes ? bytes(one.peak_memory_bytes) : ""], ["Trained weights", one.trainable_parameters ? `${count(one.trainable_parameters)} of ${count(one.total_parameters)}` : ""],
    ["Epochs", one.epochs], ["Rows", report.data?.rows ? Object.entries(report.data.rows).map(([part, rows]) => `${count(rows)} ${part}`).join(", ") : ""],
    ["Machine", [report.environment?.processor, report.environment?.cpus ? several(report.environment.cpus, "core") : ""].filter(Boolean).join(", ")]]);
}
