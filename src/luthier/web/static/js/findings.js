// What the check found, and the fixes that make a new version.

import { path, post, role } from "./api.js";
import { h } from "./dom.js";
import { count, several } from "./format.js";
import { table } from "./table.js";
import { during, empty, notice, tag } from "./ui.js";

const LOOKS = { error: "wrong", warning: "warn", info: "even" };
const ORDER = ["error", "warning", "info"];
const MOST = 50;

export function findingsView(set, version, report, changed) {
  const found = report.findings;
  if (!found.length) return empty("Nothing wrong was found", `${several(report.rows, "row")} were checked: format, duplicates, labels, lengths, personal data, languages.`);
  const groups = new Map();
  for (const one of found) groups.set(one.code, [...groups.get(one.code) ?? [], one]);
  const totals = new Map((report.stats?.findings?.by_code ?? []).map((one) => [one.code, one.count]));
  const ordered = [...groups].sort((a, b) => ORDER.indexOf(a[1][0].severity) - ORDER.indexOf(b[1][0].severity));
  return h("div", { class: "findings" }, role === "read" ? null : fixes(set, version, report, changed), ordered.map(([code, rows], i) => group(code, rows, totals.get(code) ?? rows.length, i === 0)));
}

/** All findings of one code: said once, and the lines below. */
function group(code, rows, total, open) {
  const first = rows[0];
  return h("details", { class: "finding", open }, h("summary", null, tag(first.severity, LOOKS[first.severity]), " ", h("strong", null, code.replaceAll("_", " ")), " ", h("span", { class: "muted small" }, several(total, "place"))),
    h("p", { class: "muted small" }, first.remedy),
    table(`Findings: ${code}`, [
      { name: "Line", number: true, head: true, cell: (one) => (one.line ? count(one.line) : "all") },
      { name: "What", words: true, cell: (one) => one.message },
    ], rows.slice(0, MOST)), total > Math.min(rows.length, MOST) ? h("p", { class: "muted small" }, `The first ${Math.min(rows.length, MOST)} of ${count(total)}.`) : null);
}

function fixes(set, version, report, changed) {
  return null;
}
