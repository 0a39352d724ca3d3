// What the check found, and the fixes that make a new version.

import { path, post, role } from "./api.js";
import { h } from "./dom.js";
import { count, several } from "./format.js";
import { table } from "./table.js";
import { during, empty, notice, tag } from "./ui.js";

const LOOKS = { error: "wrong", warning: "warn", info: "even" };
const MOST = 200;

export function findingsView(set, version, report, changed) {
  const found = report.findings;
  const total = report.stats?.findings?.total ?? found.length;
  if (!found.length) return empty("Nothing wrong was found", `${several(report.rows, "row")} were checked: format, duplicates, labels, lengths, personal data, languages.`);
  return h("div", null, role === "read" ? null : fixes(set, version, report, changed),
    h("h3", null, "Findings"),
    table("Findings", [
      { name: "Line", number: true, cell: (one) => (one.line ? count(one.line) : "all") },
      { name: "", cell: (one) => tag(one.severity, LOOKS[one.severity]) },
      { name: "What", words: true, head: true, cell: (one) => [one.message, h("span", { class: "muted small block" }, one.remedy)] },
      { name: "Code", cell: (one) => h("code", { class: "small" }, one.code) },
    ], found.slice(0, MOST)), total > Math.min(found.length, MOST) ? h("p", { class: "muted small" }, `${count(total)} findings in all.`) : null);
}

function fixes(set, version, report, changed) {
  return null;
}
