// All data sets, and the ways to bring one: a file, a path or address where the server allows it, an example.

import { get, post, role } from "../api.js";
import { fromExample, fromFile, listDatasets } from "../datasets.js";
import { byId, fill, h } from "../dom.js";
import { bytes, count, several, short } from "../format.js";
import { taskWords } from "../runs.js";
import { byCursor, paged } from "../table.js";
import { during, empty, field, list, show, when } from "../ui.js";

const open = (one) => location.assign(`/data/${encodeURIComponent(one.id)}`);
const sets = paged("Data sets", [
  { name: "Name", head: true, cell: (one) => [h("a", { href: `/data/${encodeURIComponent(one.id)}` }, one.name), h("span", { class: "muted small block" }, one.latest.task ? taskWords(one.latest.task) : "The rows do not say what they teach")] },
  { name: "Rows", number: true, cell: (one) => count(one.latest.rows) },
  { name: "Size", number: true, cell: (one) => bytes(one.latest.bytes) },
  { name: "Version", number: true, cell: (one) => String(one.latest.version) },
  { name: "Changed", number: true, cell: (one) => when(one.latest.created_at) },
], byCursor((after) => listDatasets(after, 25)), {
  nothing: () => empty("No data yet", "Drop a file at the side, or begin with an example. A file has one example in each row: a text and its label, or a conversation."),
});
byId("sets").append(sets.element);

function bring(sources) {
  const chooser = h("input", { type: "file", class: "unseen", tabIndex: -1, "aria-hidden": "true", onchange: () => chooser.files[0] && send(chooser.files[0]) });
  const words = h("p", null, "Drop a file here: CSV, JSONL, Parquet, text, also packed with gzip");
  const button = h("button", { type: "button", class: "button", onclick: () => chooser.click() }, "Choose a file");
  const drop = h("div", { class: "drop" }, words, button, chooser);
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover" || name === "dragenter");
    if (name === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });
  async function send(file) {
    const before = words.textContent;
    const made = await during(button, () => fromFile(file, (share) => { words.textContent = share < 1 ? `Sending ${file.name}: ${Math.round(100 * share)} %` : "Reading the rows…"; }));
    words.textContent = before;
    if (made) open(made);
  }
  if (role === "read") return h("p", { class: "muted" }, "This key may only read.");
  return [drop, sources.paths ? elsewhere("path", "A path on the server", sources.folders.length ? `Below ${sources.folders.join(", ")}` : "Below a folder that the server allows") : null, sources.urls ? elsewhere("url", "An address", "https://…") : null];
}

function elsewhere(name, label, help) {
  const input = h("input", { autocomplete: "off", spellcheck: "false" });
  return h("form", { class: "row elsewhere", onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => open(await post("/luthier/v1/datasets", { [name]: input.value.trim() })));
  } }, field(label, input, help), h("button", { class: "button" }, "Take it"));
}

show(byId("bring"), async () => bring((await get("/luthier/v1/system")).sources), 2);
show(byId("examples"), async () => list((await get("/luthier/v1/examples")).data.map((one) => h("div", { class: "card-head flat" },
  h("div", null, h("strong", null, one.title.split(":")[0]), h("span", { class: "muted small block" }, `${taskWords(one.task)} · ${several(one.rows, "row")}`)),
  role === "read" ? null : h("button", { type: "button", class: "button small", onclick: (event) => during(event.currentTarget, async () => open(await fromExample(one))) }, "Take", h("span", { class: "unseen" }, ` ${short(one.title, 60)}`))))));
