// Tables over lists that the server gives page by page: one page is in the document at a time, however long the list.

import { add, fill, h } from "./dom.js";
import { failed, loading } from "./ui.js";

/** A table with a caption. columns: [{name, cell(row), number, words, head}]; `head` marks the cell that names its row. */
export function table(caption, columns, rows, { rowProps, look = "", visible = false } = {}) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, h("table", { class: `stacks ${look ?? ""}` },
    h("caption", { class: visible ? "" : "unseen" }, caption),
    h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col", class: column.number ? "n" : "" }, column.name)))),
    h("tbody", null, rows.map((row, i) => h("tr", rowProps?.(row, i), columns.map((column) =>
      add(h(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: column.number ? "n" : column.words ? "words" : "", "data-label": column.label ?? (typeof column.name === "string" ? column.name : "") }), column.cell(row, i))))))));
}

/**
 * A list that is turned page by page. `load(cursor, number)` gives {rows, next}: `next` is the cursor of the page after,
 * or null; `total` may say how many there are. Gives {element, reload}.
 */
export function paged(caption, columns, load, { nothing, rowProps, look, say } = {}) {
  const body = h("div", { class: "paged-body" });
  const back = h("button", { type: "button", class: "button small", onclick: () => turn(at - 1) }, "Back");
  const on = h("button", { type: "button", class: "button small", onclick: () => turn(at + 1) }, "Next");
  const place = h("span", { class: "muted small", "aria-live": "polite" });
  const foot = h("div", { class: "pager", hidden: true }, back, on, place);
  const element = h("div", { class: "paged" }, body, foot);
  let cursors = [null];
  let at = 0;
  let turnNumber = 0;

  async function turn(page, quiet = false) {
    if (page < 0 || page >= cursors.length) return;
    const mine = ++turnNumber;
    at = page;
    if (!quiet) body.setAttribute("aria-busy", "true");
    if (!body.childElementCount) fill(body, loading(5));
    try {
      const found = await load(cursors[page], page);
      if (mine !== turnNumber) return;
      cursors = cursors.slice(0, page + 1);
      if (found.next !== null && found.next !== undefined) cursors.push(found.next);
      fill(body, found.rows.length || page ? table(caption, columns, found.rows, { rowProps, look }) : nothing?.() ?? h("p", { class: "muted" }, "Nothing here."));
      back.hidden = on.hidden = page === 0 && cursors.length === 1;
      foot.hidden = back.hidden && (!say || !found.rows.length);
      back.disabled = page === 0;
      on.disabled = page + 1 >= cursors.length;
      place.textContent = say ? say(found, page) : `Page ${page + 1}${found.total ? ` of ${found.total}` : ""}`;
    } catch (error) {
      if (mine === turnNumber && error.name !== "AbortError" && !quiet) fill(body, failed(error, () => turn(page)));
    } finally {
      if (mine === turnNumber) body.removeAttribute("aria-busy");
    }
  }

  /** Ask for the page that is shown again; `reset` begins at the first, or with the cursor `from`. */
  function reload({ reset = false, quiet = false, from = null } = {}) {
    if (reset) cursors = [from];
    return turn(reset ? 0 : at, quiet);
  }

  reload();
  return { element, reload };
}

/** `load` for a list in OpenAI's shape (has_more, last_id). `get(after)` asks for a page. */
export const byCursor = (get) => async (after) => {
  const page = await get(after);
  return { rows: page.data, next: page.has_more ? page.last_id ?? page.data.at(-1)?.id : null };
};
