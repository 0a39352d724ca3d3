// The held-out rows of a finished run with its answers, page by page: all, right or wrong ones, with a text.

import { get, path } from "./api.js";
import { debounced, h } from "./dom.js";
import { count, percent, short } from "./format.js";
import { paged } from "./table.js";
import { select, tag } from "./ui.js";

const PER_PAGE = 20;

/** A value of any task as a text: a label, labels, a number, spans, or what was written. */
export function told(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (typeof value === "number") return String(Number(value.toPrecision(4)));
  if (Array.isArray(value)) return value.map((one) => (one && typeof one === "object" ? `${one.label ?? ""}: ${one.text ?? `${one.start}–${one.end}`}` : told(one))).join(", ") || "none";
  return JSON.stringify(value);
}

export const rightTag = (row) => (row.wrong === 0 ? tag("right", "good") : tag("wrong", "wrong"));

/** The browser of answers of the run with this id. */
export function answers(id) {
  let which = "all";
  let words = "";
  const rows = paged("Held-out rows and answers", [
    { name: "Row", number: true, cell: (row) => count(row.line) },
    { name: "Text", words: true, cell: (row) => h("span", { class: "said" }, short(row.text ?? "", 600), row.text_pair ? h("span", { class: "muted block" }, short(row.text_pair, 300)) : null) },
    { name: "Expected", words: true, cell: (row) => h("span", { class: "said" }, short(told(row.expected), 400)) },
    { name: "Answer", words: true, cell: (row) => [h("span", { class: "said" }, short(told(row.predicted), 400)), typeof row.score === "number" ? h("span", { class: "muted small block" }, `sure by ${percent(row.score, 0)}`) : null] },
    { name: h("span", { class: "unseen" }, "Right or wrong"), cell: rightTag },
  ], async (after) => {
    const query = new URLSearchParams({ after: after ?? 0, limit: PER_PAGE, which, ...(words ? { q: words } : {}) });
    const page = await get(`${path`/luthier/v1/jobs/${id}/answers`}?${query}`);
    return { rows: page.data, next: page.next, total: page.total };
  }, { nothing: () => h("p", { class: "muted" }, "No such rows."), say: (found, page) => `${count(page * PER_PAGE + 1)} to ${count(page * PER_PAGE + found.rows.length)} of ${count(found.total)}` });
  const search = h("input", { type: "search", placeholder: "Search in the texts", "aria-label": "Search in the texts", oninput: debounced(() => {
    words = search.value.trim();
    rows.reload({ reset: true });
  }) });
  return h("div", null, h("div", { class: "row filters" }, select([["all", "All rows"], ["wrong", "Wrong ones"], ["right", "Right ones"]], which, (value) => {
    which = value;
    rows.reload({ reset: true });
  }, "Which rows"), search), rows.element);
}
