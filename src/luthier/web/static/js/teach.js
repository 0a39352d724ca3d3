// "Add this to a data set": a row with a corrected answer becomes part of a new version.

import { get, path, post } from "./api.js";
import { h } from "./dom.js";
import { dialog, during, failed, field, loading, toast } from "./ui.js";

/** Ask which data set, let the answer be corrected, and add the row. `row` is {text, label}, {messages} or {prompt, completion}. */
export async function addToDataset(row) {
  const place = h("div", null, loading(3));
  const { close } = dialog("Add to a data set", place);
  let sets;
  try {
    sets = (await get("/luthier/v1/datasets?limit=100")).data;
  } catch (error) {
    place.replaceChildren(failed(error));
    return;
  }
  if (!sets.length) {
    place.replaceChildren(h("p", null, "There is no data set yet. "), h("a", { class: "button", href: "/data" }, "Add data"));
    return;
  }
  const columns = row.messages ? ["messages"] : row.prompt !== undefined ? ["prompt", "completion"] : ["text", "label"];
  sets = sets.filter((one) => columns.every((name) => one.latest.columns?.includes(name)));
  if (!sets.length) {
    place.replaceChildren(h("p", null, `No data set has ${columns.length > 1 ? "columns" : "a column"} called ${columns.join(" and ")}; a data set's page can rename its columns.`), h("a", { class: "button", href: "/data" }, "Data"));
    return;
  }
  const last = row.messages?.at(-1);
  const question = row.messages ? row.messages.findLast((one) => one.role === "user")?.content : row.prompt ?? row.text;
  const answer = row.messages ? h("textarea", { rows: "5", value: last.content }) : row.prompt !== undefined ? h("textarea", { rows: "5", value: row.completion ?? "" }) : h("input", { value: row.label ?? "" });
  const which = h("select", null, sets.map((one) => h("option", { value: one.id }, one.name)));
  place.replaceChildren(h("form", { onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => {
      const right = answer.value;
      const whole = row.messages ? { messages: [...row.messages.slice(0, -1), { role: "assistant", content: right }] }
        : row.prompt !== undefined ? { prompt: row.prompt, completion: right } : { text: row.text, label: right };
      const set = sets.find((one) => one.id === which.value);
      const made = await post(path`/luthier/v1/datasets/${set.id}/versions`, { base: set.latest.version, fixes: [{ fix: "add_rows", rows: [whole] }] });
      close();
      toast(h("span", null, "Added to ", h("a", { href: path`/data/${set.id}?row=${made.rows}` }, `${set.name}, version ${made.version}`), "."), "good");
    });
  } }, h("p", { class: "bubble user" }, question), field("The right answer", answer), field("Data set", which), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Add"))));
  answer.focus();
}
