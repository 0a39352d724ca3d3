// What the check found, and the fixes that make a new version.

import { path, post, role } from "./api.js";
import { h } from "./dom.js";
import { count, several } from "./format.js";
import { openLine } from "./rows.js";
import { table } from "./table.js";
import { during, empty, field, tag } from "./ui.js";

const LOOKS = { error: "wrong", warning: "warn", info: "even" };
const ORDER = ["error", "warning", "info"];
const MOST = 50;

export function findingsView(set, version, report, changed) {
  const found = report.findings;
  if (!found.length) return h("div", { class: "findings" }, empty("Nothing wrong was found", `${several(report.rows, "row")} were checked: format, duplicates, labels, lengths, personal data, languages.`), role === "read" ? null : fixes(set, version, report, changed));
  const groups = new Map();
  for (const one of found) groups.set(one.code, [...groups.get(one.code) ?? [], one]);
  const totals = new Map((report.stats?.findings?.by_code ?? []).map((one) => [one.code, one.count]));
  const ordered = [...groups].sort((a, b) => ORDER.indexOf(a[1][0].severity) - ORDER.indexOf(b[1][0].severity));
  return h("div", { class: "findings" }, role === "read" ? null : fixes(set, version, report, changed), ordered.map(([code, rows], i) => group(code, rows, totals.get(code) ?? rows.length, i === 0, (line) => openLine(set.id, version, line, changed))));
}

/** All findings of one code: said once, and the lines below. */
function group(code, rows, total, open, look) {
  const first = rows[0];
  return h("details", { class: "finding", open }, h("summary", null, tag(first.severity, LOOKS[first.severity]), " ", h("strong", null, code.replaceAll("_", " ")), " ", h("span", { class: "muted small" }, several(total, "place"))),
    h("p", { class: "muted small" }, first.remedy),
    table(`Findings: ${code}`, [
      { name: "Line", number: true, head: true, cell: (one) => (one.line ? h("button", { type: "button", class: "quiet row-number", "aria-label": `Open the row of line ${one.line}`, onclick: (event) => during(event.currentTarget, () => look(one.line)) }, count(one.line)) : "all") },
      { name: "What", words: true, cell: (one) => one.message },
    ], rows.slice(0, MOST)), total > Math.min(rows.length, MOST) ? h("p", { class: "muted small" }, `The first ${Math.min(rows.length, MOST)} of ${count(total)}.`) : null);
}

/** Buttons and forms that make the next version. */
function fixes(set, version, report, changed) {
  const make = (button, list) => during(button, async () => changed(await post(path`/luthier/v1/datasets/${set.id}/versions`, { base: version.version, fixes: list })));
  const totals = new Map((report.stats?.findings?.by_code ?? []).map((one) => [one.code, one]));
  const duplicates = report.stats?.duplicates ?? {};
  const offers = [];
  const offer = (title, words, list, look = "") => offers.push(h("div", { class: "fix" }, h("div", null, h("strong", null, title), h("span", { class: "muted small block" }, words)), h("button", { type: "button", class: `button small ${look}`, onclick: (event) => make(event.currentTarget, list) }, "Apply", h("span", { class: "unseen" }, ` ${title}`))));
  const same = (totals.get("duplicate")?.count ?? 0) + (totals.get("duplicate_normalised")?.count ?? 0);
  if (same) offer("Leave out duplicates", `${several(same, "row")} say what an earlier row says`, [{ fix: "dedupe" }], "primary");
  if (duplicates.near) offer("Leave out near duplicates too", `${several(duplicates.near, "row")} say nearly the same; look at them first`, [{ fix: "dedupe", near: true }]);
  for (const [code, one] of totals) {
    if (["error", "warning"].includes(one.severity) && !code.includes("duplicate")) offer(`Leave out rows with ${code.replaceAll("_", " ")}`, several(one.count, "place"), [{ fix: "drop_findings", codes: [code] }]);
  }
  return h("div", { class: "fixes" }, offers.length ? [h("h3", null, "Fixes"), h("p", { class: "muted small" }, `Each makes a new version; version ${version.version} stays as it is.`), offers.slice(0, 12)] : null, columnsForm(version, make), dropForm(make));
}

const NAMES = ["text", "text_pair", "label", "score", "prompt", "completion", "messages"];

/** Which column is which, where the file calls them otherwise. */
function columnsForm(version, make) {
  const columns = version.columns ?? [];
  if (!columns.length) return null;
  const picks = NAMES.map((name) => [name, h("select", null, h("option", { value: "" }, "–"), columns.map((column) => h("option", { value: column, selected: column === name }, column)))]);
  return h("details", null, h("summary", null, "Name the columns"), h("form", { onsubmit: (event) => {
    event.preventDefault();
    const mapped = Object.fromEntries(picks.filter(([name, pick]) => pick.value && pick.value !== name).map(([name, pick]) => [name, pick.value]));
    if (Object.keys(mapped).length) make(event.submitter, [{ fix: "map_columns", columns: mapped }]);
  } }, h("div", { class: "row" }, picks.map(([name, pick]) => field(name, pick))), h("p", { class: "actions" }, h("button", { class: "button small" }, "Rename"))));
}

/** Rows to leave out, by number. */
function dropForm(make) {
  const input = h("input", { placeholder: "such as 3, 17, 20-25", required: true });
  return h("details", null, h("summary", null, "Leave out rows by number"), h("form", { class: "row elsewhere", onsubmit: (event) => {
    event.preventDefault();
    const rows = rowNumbers(input.value);
    if (rows === null) input.setCustomValidity("Numbers and ranges, separated by commas.");
    else make(event.submitter, [{ fix: "drop_rows", rows }]);
    input.reportValidity();
  }, oninput: () => input.setCustomValidity("") }, field("Rows", input, "As they are numbered under Rows, which is not the line of the file"), h("button", { class: "button small" }, "Leave out")));
}

/** "3, 17, 20-25" as numbers; null where it is no list of numbers. */
export function rowNumbers(text) {
  const found = [];
  for (const part of text.split(",").map((one) => one.trim()).filter(Boolean)) {
    const range = part.match(/^(\d+)(?:\s*-\s*(\d+))?$/);
    if (!range) return null;
    const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
    if (last < first || found.length + last - first > 100_000) return null;
    for (let i = first; i <= last; i += 1) found.push(i);
  }
  return found.length ? found : null;
}
