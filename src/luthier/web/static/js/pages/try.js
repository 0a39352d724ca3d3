// The playground: a column for each model, one box to ask all of them.

import { judge, judged, write } from "../answers.js";
import { byId, fill, h } from "../dom.js";
import { duration, number } from "../format.js";
import { allModels, runningEndpoints, shortName } from "../models.js";
import { addToDataset } from "../teach.js";
import { copyButton, empty, failed, toast } from "../ui.js";

const MOST = 4;
const ENDPOINT_MS = 700;
const columns = [];
let models = null;
let stopper = null;

const value = (id) => byId(id).value.trim();
const find = (id) => [...models.base, ...models.tuned, ...models.checkpoints, ...models.endpoints].find((one) => one.id === id);

function sampling() {
  const given = { temperature: Number(value("temperature") || 0), top_p: Number(value("top-p") || 1), max_tokens: Number(value("max-tokens") || 200) };
  if (value("seed") !== "") given.seed = Number(value("seed"));
  return given;
}

function picker(column) {
  const group = (label, list) => (list.length ? h("optgroup", { label }, list.map((one) => h("option", { value: one.id, selected: one.id === column.model }, one.id))) : null);
  return h("select", { "aria-label": "Model of this column", onchange: (event) => {
    column.model = event.target.value;
    column.turns = [];
    draw(column);
    remember();
  } }, group("Tuned models", models.tuned), group("Endpoints", models.endpoints), group("Base models", models.base), group("Checkpoints", models.checkpoints));
}

function addColumn(model) {
  if (columns.length >= MOST) return toast(`At most ${MOST} models stand side by side.`);
  const column = { model, turns: [], element: h("section", { class: "card model-column" }) };
  columns.push(column);
  byId("models").append(column.element);
  columns.forEach(draw);
  remember();
  return column;
}

function removeColumn(column) {
  columns.splice(columns.indexOf(column), 1);
  column.element.remove();
  columns.forEach(draw);
  remember();
}

function draw(column) {
  const info = find(column.model);
  column.element.setAttribute("aria-label", `Model ${shortName(column.model)}`);
  column.log = h("div", { class: "answers", "aria-live": "polite" });
  fill(column.element, h("div", { class: "column-head" }, picker(column),
    columns.length > 1 ? h("button", { type: "button", class: "quiet", "aria-label": `Remove ${shortName(column.model)}`, onclick: () => removeColumn(column) }, "×") : null),
  column.log);
  if (!column.turns.length) column.log.append(h("p", { class: "muted small" }, info?.kind === "encoder"
    ? info.id === info.base ? "A base model that only reads: it answers after it was tuned." : "Judges a text: labels, a number or marks." : "Writes an answer."));
  for (const turn of column.turns) showTurn(column, turn);
}

function showTurn(column, turn) {
  column.log.querySelector("p.muted.small:only-child")?.remove();
  turn.place = h("div", { class: "turn" }, h("div", { class: "bubble user" }, h("span", { class: "who" }, "You"), turn.text), turn.body ??= h("div", { class: "bubble assistant" }));
  column.log.append(turn.place);
}

async function askOne(column, text, signal) {
  const info = find(column.model);
  const turn = { text, answer: null };
  column.turns.push(turn);
  showTurn(column, turn);
  const said = h("div", { class: "said" }, h("span", { class: "muted" }, "…"));
  fill(turn.body, h("span", { class: "who" }, shortName(column.model)), said);
  turn.body.setAttribute("aria-busy", "true"); // read out once, when it is whole
  try {
    if (info?.kind === "encoder") {
      const found = await judge(column.model, text, signal);
      turn.answer = found.row;
      fill(said, judged(found.row, text));
      foot(turn, [duration(found.seconds)], { text, label: found.row.label });
    } else {
      const complete = value("mode") === "complete";
      const earlier = column.turns.slice(0, -1).filter((one) => typeof one.answer === "string").flatMap((one) => [{ role: "user", content: one.text }, { role: "assistant", content: one.answer }]);
      const messages = [...(value("system") ? [{ role: "system", content: value("system") }] : []), ...earlier, { role: "user", content: text }];
      const found = await write(column.model, complete ? { prompt: text, sampling: sampling() } : { messages, sampling: sampling() }, (all) => { said.textContent = all; }, signal);
      turn.answer = found.text;
      if (!found.text) fill(said, h("span", { class: "muted" }, "It wrote nothing."));
      foot(turn, [found.tokens ? `${found.tokens} tokens` : "", found.first !== null ? `first after ${number(found.first, 2)} s` : "", found.tokens ? `${number(found.tokens / found.seconds, 1)} a second` : "", found.reason === "length" ? "cut at the longest answer" : ""],
        complete ? { prompt: text, completion: found.text } : { messages: [...messages, { role: "assistant", content: found.text }] });
    }
  } catch (error) {
    if (error.name === "AbortError") said.append(h("span", { class: "muted small" }, " (stopped)"));
    else fill(said, h("div", { class: "notice wrong", role: "alert" }, error.message));
  } finally {
    turn.body.removeAttribute("aria-busy");
  }
}

function foot(turn, words, row) {
  turn.body.append(h("div", { class: "turn-foot" }, h("span", { class: "muted small" }, words.filter(Boolean).join(" · ")),
    typeof turn.answer === "string" ? copyButton(turn.answer) : null,
    h("button", { type: "button", class: "button small", onclick: () => addToDataset(row) }, "Add to a data set")));
}

async function ask(event) {
  event?.preventDefault();
  const text = byId("text").value;
  if (!text.trim() || stopper) return;
  stopper = new AbortController();
  byId("send").disabled = true;
  byId("stop").hidden = false;
  byId("text").value = "";
  await Promise.all(columns.map((column) => askOne(column, text, stopper.signal)));
  stopper = null;
  byId("send").disabled = false;
  byId("stop").hidden = true;
  byId("text").focus();
}

function remember() {
  history.replaceState(null, "", `/try?model=${columns.map((column) => encodeURIComponent(column.model)).join(",")}`);
}

async function begin() {
  try {
    models = { endpoints: [], ...await allModels() };
    const asked = runningEndpoints().then((found) => {
      models.endpoints = found;
      for (const column of columns) column.element.querySelector("select")?.replaceWith(picker(column));
    }).catch((error) => console.debug(error));
    await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, ENDPOINT_MS))]);
  } catch (error) {
    fill(byId("models"), failed(error, begin));
    return;
  }
  fill(byId("models"));
  const asked = (new URLSearchParams(location.search).get("model") ?? "").split(",").map((one) => one.trim()).filter(Boolean);
  const wanted = asked.filter(find).slice(0, MOST);
  for (const one of asked.filter((name) => !find(name)).slice(0, 3)) byId("trouble").append(h("div", { class: "notice warn" }, `There is no model ${one} here.`));
  if (!wanted.length) {
    const first = models.tuned[0] ?? models.endpoints[0] ?? models.base.find((one) => one.kind === "generative");
    if (first) wanted.push(first.id);
  }
  if (!wanted.length) {
    fill(byId("models"), empty("No model can answer yet", "Train one first.", h("a", { class: "button primary", href: "/new" }, "New run")));
    return;
  }
  if (wanted.length === 1) {
    const info = find(wanted[0]);
    if (info.kind === "generative" && info.id !== info.base && find(info.base)) wanted.push(info.base);
  }
  wanted.forEach(addColumn);
  byId("text").focus({ preventScroll: true });
}

byId("ask").addEventListener("submit", ask);
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
});
byId("stop").addEventListener("click", () => stopper?.abort());
byId("clear").addEventListener("click", () => columns.forEach((column) => {
  column.turns = [];
  draw(column);
}));
byId("add-model").addEventListener("click", () => {
  const free = [...models.tuned, ...models.base, ...models.checkpoints].find((one) => !columns.some((column) => column.model === one.id));
  addColumn((free ?? models.base[0]).id)?.element.querySelector("select").focus();
});
begin();
