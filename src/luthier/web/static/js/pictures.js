// Pictures of a data set from its check: labels, lengths, languages, what would be cut.

import { bars, histogram } from "./charts.js";
import { h } from "./dom.js";
import { count, percent, several } from "./format.js";
import { facts } from "./ui.js";

const MOST_LABELS = 30;

export function pictures(report) {
  const stats = report.stats ?? {};
  const labels = Object.entries(stats.labels ?? {}).sort((a, b) => b[1].rows - a[1].rows);
  const lengths = stats.lengths ?? {};
  const parts = [];
  if (labels.length) parts.push(h("section", null, h("h3", null, several(labels.length, "label")), bars("Rows of each label", labels.slice(0, MOST_LABELS).map(([name, one]) => [name, one.rows, `${count(one.rows)} · ${percent(one.share)}`])),
    labels.length > MOST_LABELS ? h("p", { class: "muted small" }, `and ${labels.length - MOST_LABELS} more`) : null));
  for (const [name, title] of [["tokens", "Tokens in a row"], ["characters", "Characters in a row"]]) {
    const one = lengths[name];
    if (one?.histogram?.length) parts.push(h("section", null, one.histogram.length < 2 ? h("h3", null, title) : histogram(title, one.histogram.map((bin) => `up to ${count(bin.up_to)}`), one.histogram.map((bin) => bin.rows)),
      facts([["Median", count(Math.round(one.median))], ["95 % are below", count(Math.round(one.p95))], ["Longest", count(one.max)],
        ["Cut at the longest", one.max_length ? `${several(one.cut_rows ?? 0, "row")} at ${count(one.max_length)} tokens` : ""], ["Learned", one.learned ? `${count(one.learned)} tokens (${percent(one.learned_share)})` : ""]])));
  }
  const languages = Object.entries(stats.languages ?? {});
  const personal = Object.entries(stats.personal_data ?? {}).filter(([, value]) => value > 0);
  const duplicates = stats.duplicates ?? {};
  parts.push(h("section", null, h("h3", null, "At a glance"), facts([
    ["Usable rows", stats.parts?.train ? `${count(stats.parts.train.usable)} of ${count(stats.parts.train.rows)}` : ""],
    ["Duplicates", Object.keys(duplicates).length ? `${count(duplicates.exact ?? 0)} exact, ${count(duplicates.near ?? 0)} near, ${count(duplicates.conflicts ?? 0)} with another label` : ""],
    ["Languages", languages.map(([name, rows]) => `${name} ${count(rows)}`).slice(0, 6).join(", ")],
    ["Personal data", personal.map(([name, rows]) => `${name} ${count(rows)}`).join(", ") || "none found"],
    ["Turns", stats.conversations ? `${count(stats.conversations.messages)}, of which ${count(stats.conversations.trained_turns)} are learned` : ""],
    ["Different answers", stats.answers ? count(stats.answers.different) : ""],
  ])));
  return h("div", { class: "grid wide pictures" }, parts);
}
