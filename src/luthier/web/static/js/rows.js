// The rows of a version: page by page from the server, with search; a conversation with its trained tokens coloured.

import { get, path, post, role } from "./api.js";
import { debounced, fill, h } from "./dom.js";
import { count, short } from "./format.js";
import { paged } from "./table.js";
import { dialog, during, field, loading, show } from "./ui.js";

const PER_PAGE = 25;
const MOST_COLUMNS = 8;
const MOST_TOKENS = 4000;

/** A value of a row as a text. */
const plain = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

/** A conversation's turns, if the row holds one. */
export function turnsOf(values) {
  const turns = values?.messages ?? values?.conversations ?? values?.conversation;
  return Array.isArray(turns) && turns.every((one) => one && typeof one === "object") ? turns : null;
}

const conversation = (turns) => h("div", { class: "conversation" }, turns.map((turn) => h("div", { class: `bubble ${turn.role === "assistant" || turn.from === "gpt" ? "assistant" : "user"}` },
  h("span", { class: "who" }, turn.role ?? turn.from ?? ""), plain(turn.content ?? turn.value), turn.tool_calls ? h("pre", null, h("code", null, JSON.stringify(turn.tool_calls, null, 2))) : null)));

/** The browser of the rows of `version` of the data set `id`; `shown` is a row on its first page. */
export function rowsView(id, version, changed, shown = null) {
  let words = "";
  const names = (version.columns ?? []).slice(0, MOST_COLUMNS);
  const chat = names.includes("messages") || names.includes("conversations");
  const cell = (name) => (row) => {
    if (!row.values) return null;
    const turns = name === "messages" || name === "conversations" ? turnsOf(row.values) : null;
    if (!turns) return h("span", { class: "said" }, short(plain(row.values[name]), 400));
    const last = turns.at(-1);
    return h("span", { class: "said" }, h("span", { class: "muted" }, short(plain((turns.find((one) => one.role === "user" || one.from === "human") ?? turns[0])?.content ?? ""), 160)), h("span", { class: "block" }, short(plain(last?.content ?? last?.value), 200)));
  };
  const columns = [
    { name: "Row", number: true, cell: (row) => h("button", { type: "button", class: "quiet row-number", "aria-label": `Open row ${row.row}`, onclick: () => openRow(id, version, row.row, changed) }, count(row.row)) },
    ...names.map((name, i) => ({ name, words: true, cell: (row) => (row.problem && i === 0 ? h("span", { class: "problem" }, h("strong", null, row.problem.message), " ", h("code", null, short(row.text ?? "", 200))) : cell(name)(row)) })),
    ...(names.length ? [] : [{ name: "Row", words: true, cell: (row) => short(plain(row.values ?? row.text), 300) }]),
  ];
  const rows = paged(`Rows of version ${version.version}`, columns, async (after) => {
    let at = after ?? (shown && !words ? PER_PAGE * Math.floor((Math.min(shown, version.rows) - 1) / PER_PAGE) : 0);
    const found = [];
    for (;;) {
      const page = await get(`${path`/luthier/v1/datasets/${id}/versions/${version.version}/rows`}?${new URLSearchParams({ after: at, limit: PER_PAGE, ...(words ? { q: words } : {}) })}`);
      found.push(...page.data);
      at = page.next_after;
      status.textContent = words && page.has_more ? `Searched ${count(page.searched)} of ${count(page.total)} rows` : "";
      if (!words || found.length >= PER_PAGE || !page.has_more) return { rows: found, next: page.has_more ? at : null, total: page.total };
    }
  }, { nothing: () => h("p", { class: "muted" }, words ? `No row holds "${words}".` : "No rows."), look: chat ? "chat-rows" : "",
    say: (page) => (page.rows.length ? `Rows ${count(page.rows[0].row)} to ${count(page.rows.at(-1).row)} of ${count(page.total)}` : "") });
  const status = h("span", { class: "muted small", role: "status" });
  const search = h("input", { type: "search", placeholder: "Search in the rows", "aria-label": "Search in the rows", oninput: debounced(() => {
    words = search.value.trim();
    rows.reload({ reset: true });
  }, 350) });
  const go = h("input", { type: "number", min: "1", max: String(version.rows), placeholder: "Go to row", "aria-label": "Go to row", class: "go", onchange: () => {
    const number = Math.min(version.rows, Math.max(1, Math.floor(Number(go.value)) || 1));
    words = search.value = "";
    rows.reload({ reset: true, from: number - 1 });
  } });
  return h("div", null, h("div", { class: "row filters" }, search, version.rows > PER_PAGE ? go : null), h("p", { class: "found" }, status), rows.element);
}

const rowsAt = async (id, version, after, limit = 1) => (await get(`${path`/luthier/v1/datasets/${id}/versions/${version.version}/rows`}?after=${after}&limit=${limit}`)).data;

/** The row that begins in this line of the file, in a dialog. Rows stand in the order of their lines, and none before its own number. */
export async function openLine(id, version, line, changed) {
  let low = 1;
  let high = Math.min(version.rows, line);
  let middle = Math.max(1, high - (high === line ? 1 : 0)); // below one line of column names, most often
  while (low < high) {
    const [row] = await rowsAt(id, version, middle - 1);
    if (!row || row.line === line) break;
    if (row.line < line) low = middle + 1;
    else high = middle - 1;
    middle = Math.floor((low + high) / 2);
  }
  openRow(id, version, Math.max(1, middle), changed);
}

/** A row whole, in a dialog: its values, or its conversation with what is learned. `changed(made)` hears of a new version. */
export function openRow(id, version, number, changed) {
  const place = h("div", null, loading(4));
  const tokens = h("div");
  const { close } = dialog(`Row ${count(number)}`, place, tokens);
  const mend = (button, fix) => during(button, async () => {
    const made = await post(path`/luthier/v1/datasets/${id}/versions`, { base: version.version, fixes: [fix] });
    close();
    await changed(made);
  });
  show(place, async () => {
    const [row] = await rowsAt(id, version, number - 1);
    if (!row) throw new Error("There is no such row.");
    const out = role === "read" || !changed ? null : h("button", { type: "button", class: "button small", onclick: (event) => mend(event.currentTarget, { fix: "drop_rows", rows: [number] }) }, "Leave it out");
    if (!row.values) return h("div", null, h("p", null, h("strong", null, row.problem.message), " ", row.problem.remedy), h("pre", { class: "said" }, h("code", null, row.text ?? "")), h("p", { class: "actions" }, out));
    const turns = turnsOf(row.values);
    const rest = Object.entries(row.values).filter(([name]) => !turns || !["messages", "conversations", "conversation"].includes(name));
    const texts = rest.filter(([, value]) => typeof value === "string" || value === null);
    const correct = out && texts.length ? h("button", { type: "button", class: "button small", onclick: () => place.replaceChildren(correction(texts, number, mend)) }, "Correct it") : null;
    if (turns) showTokens(tokens, id, version, number);
    return h("div", null, turns ? conversation(turns) : null, rest.length ? h("dl", null, rest.map(([name, value]) => [h("dt", null, name), h("dd", { class: "said" }, plain(value))])) : null,
      h("p", { class: "actions row-actions" }, turns ? null : h("button", { type: "button", class: "button small", onclick: () => showTokens(tokens, id, version, number) }, "Show its tokens"), correct, out,
        row.line !== number ? h("span", { class: "muted small" }, `Line ${count(row.line)} of the file`) : null));
  });
}

/** A form of a row's texts, which makes a new version with what they become. */
function correction(texts, number, mend) {
  const boxes = texts.map(([name, value]) => [name, h("textarea", { rows: plain(value).length > 60 ? "3" : "1", class: "line", value: plain(value) }), plain(value)]);
  return h("form", { onsubmit: (event) => {
    event.preventDefault();
    const values = Object.fromEntries(boxes.filter(([, box, before]) => box.value !== before).map(([name, box]) => [name, box.value]));
    if (Object.keys(values).length) mend(event.submitter, { fix: "correct_rows", rows: [{ row: number, values }] });
  } }, boxes.map(([name, box]) => field(name, box)), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Keep as a new version")));
}

function showTokens(box, id, version, number) {
  fill(box, loading(3));
  return show(box, async () => {
    const found = await get(`${path`/luthier/v1/datasets/${id}/versions/${version.version}/tokens`}?row=${number}`);
    return h("div", null, h("h3", null, "Tokens"), h("p", { class: "muted small" }, found.learned ? `${count(found.total)} tokens of ${found.model}; the ${count(found.learned)} green ones are learned, the others are only read.` : `${count(found.total)} tokens of ${found.model}.`,
      found.cut ? ` The row is longer than ${count(found.max_length)} tokens; its end is cut.` : ""),
    h("div", { class: "tokens card" }, found.tokens.slice(0, MOST_TOKENS).map((one) => h("span", { class: `token${one.weight > 0 ? " learned" : ""}${one.special ? " special" : ""}`, title: `${one.id}${one.tag && one.tag !== "O" ? ` ${one.tag}` : ""}` }, one.text))),
    found.tokens.length > MOST_TOKENS ? h("p", { class: "muted small" }, `The first ${count(MOST_TOKENS)}.`) : null);
  });
}
