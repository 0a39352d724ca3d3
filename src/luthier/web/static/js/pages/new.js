// New run: a few choices become a recipe, which the server checks, forecasts and writes down while they are made.
// The same choices can become an automatic run, a search over settings, or a decision whether to fine-tune at all.

import { ApiError, get, maybe, path, post } from "../api.js";
import { checked, fromExample, fromFile, listDatasets, versionsOf } from "../datasets.js";
import { byId, debounced, fill, h } from "../dom.js";
import { bytes, count, duration, several } from "../format.js";
import { allModels, shortName } from "../models.js";
import { TASKS } from "../runs.js";
import { code, during, facts, failed, field, loading, notice, select, tabs, tag, toast } from "../ui.js";

const METHODS = [
  ["full", "All weights", "Learns most. Right for small models."],
  ["lora", "LoRA", "A small part beside the weights; less memory, a small file."],
  ["head", "Only the head", "The model itself stays as it is. Seconds, for a first look."],
];
const KINDS = [
  ["run", "Train once", "One run with good settings, and its report."],
  ["auto", "Choose for me", "Method and settings, within a time that you give."],
  ["search", "Search for settings", "Many short trials; the best is trained again."],
  ["decision", "Decide first", "Would a prompt or retrieval do? All are measured."],
];
const BUDGETS = [
  ["2m", "2 minutes", "A first look, a few candidates"],
  ["10m", "10 minutes", "Enough for most data"],
  ["30m", "30 minutes", "For the last points, or much data"],
  ["", "Another time", "20 seconds to 24 hours"],
];
const WHERE = { auto: "autos", search: "searches", decision: "decisions" };
const VARIED = [
  ["rate", "Learning rate", "a third to three times the usual", () => ["train", "learning_rate_multiplier", { search: { low: 0.3, high: 3, log: true } }], true],
  ["batch", "Rows in a step", "8, 16 or 32", () => ["train", "batch_size", { search: [8, 16, 32] }], true],
  ["warmup", "Warm-up", "none to a fifth of the steps", () => ["train", "warmup", { search: { low: 0, high: 0.2 } }], false],
  ["decay", "Weight decay", "0, 0.01 or 0.1", () => ["train", "weight_decay", { search: [0, 0.01, 0.1] }], false],
  ["rank", "LoRA rank", "4, 8, 16 or 32", () => ["method", "rank", { search: [4, 8, 16, 32] }], true],
];
const SMALL = 200e6;
const state = { dataset: null, version: null, task: null, model: "auto", method: "full", catalogue: [], tuned: [], sets: [], checked: null, picked: false, tab: 0, autoTab: 0, budget: "10m", kind: "run", varied: new Set(VARIED.filter((one) => one[4]).map((one) => one[0])) };
const text = (id) => byId(id).value.trim();
const whole = (id) => (text(id) === "" ? undefined : /^\d+$/.test(text(id)) ? Number(text(id)) : text(id));
const real = (id) => (text(id) === "" ? undefined : Number.isFinite(Number(text(id))) ? Number(text(id)) : text(id));

/** The recipe of what is chosen; what was left open is left out. */
function recipe() {
  const version = state.version;
  const data = { train: version.file_id, validation: Number(text("validation")) };
  if (version.test_file_id) data.test = version.test_file_id;
  const train = { epochs: whole("epochs"), learning_rate_multiplier: real("rate"), batch_size: whole("batch"), max_length: whole("length"), patience: whole("patience"), seed: whole("seed") };
  const kept = Object.fromEntries(Object.entries(train).filter(([, value]) => value !== undefined));
  const method = { kind: state.method };
  if (state.method === "lora" && whole("rank") !== undefined) method.rank = whole("rank");
  return { ...(state.model === "auto" ? {} : { model: state.model }), ...(state.task ? { task: state.task } : {}), data, method, ...(Object.keys(kept).length ? { train: kept } : {}) };
}

/** The recipe of a search: what may vary stands as a search in the place of a value. */
function searchRecipe() {
  const values = recipe();
  for (const [name, , , make] of VARIED) {
    if (!state.varied.has(name) || name === "rank" && state.method !== "lora") continue;
    const [group, key, search] = make();
    values[group] = { ...values[group], [key]: search };
  }
  const minutes = real("minutes");
  return { ...values, search: { trials: whole("trials") ?? 12, ...(typeof minutes === "number" ? { budget: 60 * minutes } : minutes === undefined ? {} : { budget: minutes }) } };
}

/** The request of a decision. */
function decision() {
  const version = state.version;
  const minutes = real("decide-minutes") ?? 15;
  return { data: { train: version.file_id, ...(version.test_file_id ? { test: version.test_file_id } : {}) }, ...(state.task ? { task: state.task } : {}), ...(state.model === "auto" ? {} : { model: state.model }),
    budget_seconds: typeof minutes === "number" ? 60 * minutes : minutes, prices: { hour: real("hour") ?? 0.1 }, suffix: suffix(), metadata: metadata() };
}

/** The request of an automatic run. */
function automatic() {
  const version = state.version;
  return { data: { train: version.file_id, ...(version.test_file_id ? { test: version.test_file_id } : {}) }, budget: state.budget || text("auto-budget"), ...(state.task ? { task: state.task } : {}), ...(state.model === "auto" ? {} : { model: state.model }), suffix: suffix(), metadata: metadata() };
}

function drawBudgets() {
  fill(byId("budget"), BUDGETS.map(([value, title, words]) => choice("budget", value, title, words, state.budget === value, (picked) => {
    state.budget = picked;
    byId("budget-field").hidden = picked !== "";
    if (picked === "") byId("auto-budget").focus();
  }, value === "10m" ? tag("recommended", "good") : null)));
}

function drawKinds() {
  fill(byId("kind"), KINDS.map(([name, title, words]) => choice("kind", name, title, words, state.kind === name, (value) => {
    state.kind = value;
    drawKinds();
    drawModels();
    byId("new").querySelector(`input[name=kind][value=${value}]`).focus();
  })));
  byId("search-fields").hidden = state.kind !== "search";
  byId("method-card").hidden = state.kind === "decision" || state.kind === "auto";
  byId("auto-card").hidden = state.kind !== "auto";
  byId("decide-card").hidden = state.kind !== "decision";
  byId("as-card").hidden = state.kind !== "run" && state.kind !== "auto";
  byId("start").textContent = { run: "Start training", auto: "Find the best model", search: "Start the search", decision: "Start the decision" }[state.kind];
  fill(byId("varied"), VARIED.filter(([name]) => name !== "rank" || state.method === "lora").map(([name, title, words]) => h("label", { class: "choice" }, h("input", { type: "checkbox", checked: state.varied.has(name), onchange: (event) => {
    if (event.target.checked) state.varied.add(name);
    else state.varied.delete(name);
  } }), h("strong", null, title), h("span", null, words))));
}

const suffix = () => text("name").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 40) || undefined;
const metadata = () => Object.fromEntries(Object.entries({ name: text("name"), dataset: state.dataset?.id, dataset_name: state.dataset?.name, dataset_version: state.version ? String(state.version.version) : "" }).filter(([, value]) => value));

function choice(group, value, title, words, checked, onchange, more, disabled = false) {
  return h("label", { class: "choice" }, h("input", { type: "radio", name: group, value, checked, disabled, onchange: () => {
    onchange(value);
    changed();
  } }), h("strong", null, title, more ? [" ", more] : null), h("span", null, words));
}

function drawTasks() {
  const found = state.version?.task || null;
  fill(byId("task"), Object.entries(TASKS).map(([task, [title, words]]) => choice("task", task, title, words, state.task === task, (value) => {
    state.task = value;
    state.model = "auto";
    drawModels();
    drawMethods();
  }, found === task ? tag("fits your data", "good") : null)));
}

function drawModels() {
  if (state.kind !== "run" && state.tuned.some((one) => one.id === state.model)) state.model = "auto"; // the others begin from a base
  const fits = state.catalogue.filter((one) => !state.task || one.tasks.includes(state.task));
  const first = fits.find((one) => one.here);
  const auto = choice("model", "auto", "The usual one", first ? `Takes ${first.title ?? first.name}: it can learn this task and is here.` : "No model here can learn this task yet.", state.model === "auto", (value) => { state.model = value; drawMethods(); }, tag("recommended", "good"));
  const bases = fits.slice(0, 12).map((one) => choice("model", one.name, one.title, [one.parameters ? `${(one.parameters / 1e6).toFixed(0)} M weights` : "", one.context ? `reads ${count(one.context)} tokens` : "", one.licence ?? "", one.here ? "" : `not here yet${one.install ? `: ${one.install}` : ""}`].filter(Boolean).join(" · "), state.model === one.name, (value) => { state.model = value; drawMethods(); }, null, !one.here));
  const names = new Set(fits.map((one) => one.name));
  const tuned = state.kind !== "run" ? [] : state.tuned.filter((one) => names.has(one.base)).slice(0, 4).map((one) => choice("model", one.id, `Go on from ${shortName(one.id)}`, "A model that you tuned before", state.model === one.id, (value) => { state.model = value; }));
  fill(byId("model"), auto, bases, tuned);
}

function drawMethods() {
  const entry = state.catalogue.find((one) => one.name === state.model) ?? state.catalogue.find((one) => one.tasks.includes(state.task));
  const best = (entry?.parameters ?? 0) > SMALL ? "lora" : "full";
  if (!state.picked) state.method = best;
  const writes = ["chat", "complete"].includes(state.task);
  if (writes && state.method === "head") state.method = best;
  fill(byId("method"), METHODS.filter(([name]) => !writes || name !== "head").map(([name, title, words]) => choice("method", name, title, words, state.method === name, (value) => {
    state.method = value;
    state.picked = true;
    byId("rank-field").hidden = value !== "lora";
    drawKinds();
  }, name === best ? tag("recommended", "good") : null)));
  byId("rank-field").hidden = state.method !== "lora";
}

async function drawData() {
  const box = byId("data");
  const chooser = h("input", { type: "file", "aria-label": "A file of examples", class: "unseen", onchange: () => chooser.files[0] && bring(chooser.files[0]) });
  const drop = h("div", { class: "drop" }, h("p", null, "Drop a file here: CSV, JSONL, Parquet, text"), h("button", { type: "button", class: "button", onclick: () => chooser.click() }, "Choose a file"), chooser);
  for (const name of ["dragover", "dragleave", "drop"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) bring(event.dataTransfer.files[0]);
  });
  async function bring(file) {
    const meter = h("p", null, "Sending…");
    fill(drop, meter);
    try {
      const made = await fromFile(file, (share) => { meter.textContent = share < 1 ? `Sending ${Math.round(100 * share)} %` : "Reading the rows"; });
      state.sets = [made, ...state.sets];
      await pick(made);
    } catch (error) {
      toast(error.message, "wrong");
    }
    drawData();
  }
  const chosen = h("div", { id: "data-facts" });
  const parts = [];
  if (state.sets.length) {
    parts.push(field("Data set", select([["", "Choose…"], ...state.sets.map((one) => [one.id, one.name])], state.dataset?.id ?? "", async (id) => {
      await pick(state.sets.find((one) => one.id === id) ?? null);
      drawData();
    })), chosen);
    parts.push(h("details", null, h("summary", null, "Bring other data"), drop));
  } else parts.push(drop);
  fill(box, parts);
  if (state.version) await drawFacts(chosen);
}

async function drawFacts(box) {
  const version = state.version;
  const all = await versionsOf(state.dataset.id);
  fill(box, all.length > 1 ? field("Version", select(all.map((one) => [String(one.version), `Version ${one.version}: ${several(one.rows, "row")}`]), String(version.version), (number) => {
    state.version = all.find((one) => String(one.version) === number);
    check();
    changed();
    drawData();
  })) : null, facts([["Rows", count(version.rows)], ["Size", bytes(version.bytes)], ["Columns", (version.columns ?? []).join(", ")], ["Test rows", version.test_file_id ? "come with the data" : "none: the rows kept aside are judged instead"]]), h("div", { id: "findings" }));
  drawFindings();
}

function drawFindings() {
  const box = byId("findings");
  if (!box) return;
  const report = state.checked;
  if (report === null) return fill(box, h("p", { class: "muted small" }, "The data are being checked…"));
  if (report instanceof Error) return fill(box, notice(report.message, "wrong"));
  const of = (severity) => report.findings.filter((one) => one.severity === severity).length;
  const errors = of("error");
  const warnings = of("warning");
  const look = h("a", { href: path`/data/${state.dataset.id}` }, "See them");
  return fill(box, errors ? notice(h("p", null, `The check found ${several(errors, "error")}${warnings ? ` and ${several(warnings, "warning")}` : ""}. `, look), "wrong")
    : warnings ? notice(h("p", null, `The check found ${several(warnings, "warning")}. `, look), "warn") : notice("The check found nothing wrong.", "good"));
}

async function check() {
  const { dataset, version } = state;
  state.checked = null;
  drawFindings();
  try {
    const report = await checked(dataset.id, version.version);
    if (version === state.version) state.checked = report;
  } catch (error) {
    if (version === state.version) state.checked = error;
  }
  drawFindings();
}

async function pick(dataset) {
  state.dataset = dataset;
  state.version = dataset?.latest ?? null;
  if (state.version) {
    if (state.version.task) state.task = state.version.task;
    if (!text("name")) byId("name").placeholder = dataset.name;
    check();
  }
  drawTasks();
  drawModels();
  drawMethods();
  changed();
}

let controller = null;
const settle = debounced(async () => {
  controller?.abort();
  controller = new AbortController();
  const { signal } = controller;
  const body = state.kind === "auto" ? automatic() : { recipe: recipe(), suffix: suffix(), metadata: metadata() };
  try {
    if (state.kind === "auto") {
      const found = await post("/luthier/v1/autos/texts", body, { signal });
      fill(byId("problem"));
      fill(byId("forecast"));
      byId("start").disabled = false;
      byId("chosen-card").hidden = true;
      fill(byId("texts"), tabs("The run as", [["Python", code(found.python, "Python")], ["Command", code(found.command, "Command line")], ["curl", code(found.curl, "curl")]], { picked: state.autoTab, onPick: (number) => { state.autoTab = number; } }));
      return;
    }
    const found = await post("/luthier/v1/recipes", body, { signal });
    fill(byId("problem"));
    byId("start").disabled = false;
    fill(byId("texts"), tabs("The run as", [["Recipe", code(found.yaml, "Recipe")], ["Python", code(found.python, "Python")], ["Command", code(found.command, "Command line")], ["curl", code(found.curl, "curl")]], { picked: state.tab, onPick: (number) => { state.tab = number; } }));
    chosenForYou(found.auto);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(byId("problem"), notice(error.message, "wrong"));
    byId("start").disabled = true;
  }
  if (state.kind !== "auto") forecast(body, signal);
}, 250);

/** What was left open, with what it would become and why; what nobody knows yet is told by name. */
function chosenForYou(auto) {
  const known = auto.filter((one) => one.value !== null);
  const later = auto.filter((one) => one.value === null).map((one) => one.key.split(".").pop().replaceAll("_", " "));
  byId("chosen-card").hidden = auto.length === 0;
  fill(byId("chosen"), known.length ? h("dl", null, known.map((one) => [h("dt", null, one.key.split(".").pop().replaceAll("_", " ")), h("dd", null, h("strong", null, told(one.value), " "), h("span", { class: "small muted" }, one.reason))])) : null,
    later.length ? h("p", { class: "muted small later" }, `When the run starts, from the data and the base: ${later.join(", ")}. The run's page tells what they became.`) : null);
}

const told = (value) => (typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));

/** What the run will take; shown beside the choices, a moment after the last of them. */
const forecast = debounced(async (body, signal) => {
  const box = byId("forecast");
  if (state.kind !== "run") return fill(box);
  if (!box.childElementCount) fill(box, loading(2));
  box.setAttribute("aria-busy", "true");
  try {
    const found = await post("/luthier/v1/forecast", { recipe: body.recipe }, { signal });
    fill(box, forecastFacts(found));
    chosenForYou(found.chosen);
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    fill(box, h("p", { class: "muted small" }, `No forecast: ${error.message}`));
  }
  return undefined;
}, 600);

function forecastFacts(found) {
  const { seconds, peak_memory_bytes: memory } = found;
  const price = h("input", { inputmode: "decimal", value: rememberedPrice(), "aria-label": "Dollars for an hour of this machine", class: "price" });
  const cost = h("strong");
  const count_ = () => { cost.textContent = Number(price.value) > 0 ? `$${(seconds.value / 3600 * Number(price.value)).toPrecision(2)}` : "–"; };
  price.addEventListener("input", (event) => {
    event.stopPropagation();
    try { localStorage.setItem("luthier.price", price.value); } catch { /* storage is switched off */ }
    count_();
  });
  count_();
  return [facts([
    ["Time", [h("strong", null, `about ${duration(seconds.value)}`), h("span", { class: "muted small block" }, `${duration(seconds.low)} to ${duration(seconds.high)}`)]],
    ["Memory", [h("strong", null, bytes(memory.value)), h("span", { class: "muted small block" }, `at most ${bytes(memory.high)}`)]],
    ["Cost", [cost, h("span", { class: "muted small block" }, "at $", price, " an hour")]],
    ["Steps", `${count(found.steps)} in ${count(found.epochs)} epochs of ${several(found.rows, "row")}`],
  ]), found.notes.slice(0, 2).map((note) => h("p", { class: "muted small" }, note))];
}

function rememberedPrice() {
  try { return localStorage.getItem("luthier.price") ?? "0.10"; } catch { return "0.10"; }
}

function changed() {
  const ready = Boolean(state.version);
  byId("start").disabled = !ready;
  if (ready) settle();
}

byId("new").addEventListener("input", changed);
byId("new").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!state.version) return;
  during(byId("start"), async () => {
    const name = text("name") || state.dataset?.name || "";
    if (state.kind !== "run") {
      const named = { ...metadata(), ...(name ? { name } : {}) };
      const body = { auto: automatic, search: () => ({ recipe: searchRecipe(), suffix: suffix() }), decision }[state.kind]();
      const made = await post(`/luthier/v1/${WHERE[state.kind]}`, { ...body, metadata: named });
      location.assign(`/${WHERE[state.kind]}/${encodeURIComponent(made.id)}`);
      return;
    }
    const job = await post("/luthier/v1/jobs", { recipe: recipe(), suffix: suffix() ?? (name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 40) || undefined), metadata: { ...metadata(), ...(name ? { name } : {}) } });
    location.assign(`/runs/${encodeURIComponent(job.id)}`);
  });
});

/** Settings of an earlier run or an example. */
function take(values) {
  const train = values.train ?? {};
  const put = (id, value, usual) => { if (value !== undefined && value !== null && value !== "auto" && value !== usual) byId(id).value = String(value); };
  put("epochs", train.epochs); put("rate", train.learning_rate_multiplier, 1); put("batch", train.batch_size); put("length", train.max_length); put("patience", train.patience, 2); put("seed", train.seed, 0);
  if (typeof values.data?.validation === "number" && [...byId("validation").options].some((one) => one.value === String(values.data.validation))) byId("validation").value = String(values.data.validation);
  if (values.method?.kind && METHODS.some(([name]) => name === values.method.kind)) { state.method = values.method.kind; state.picked = true; }
  if (values.task && values.task !== "auto") state.task = values.task;
  if (values.model) state.model = values.model;
}

async function begin() {
  const asked = new URLSearchParams(location.search);
  if (KINDS.some(([name]) => name === asked.get("kind"))) state.kind = asked.get("kind");
  drawKinds();
  drawBudgets();
  drawTasks();
  fill(byId("data"), loading(3));
  try {
    const [catalogue, models, sets] = await Promise.all([maybe("/luthier/v1/catalogue"), allModels(), listDatasets(null, 100)]);
    state.catalogue = catalogue?.data ?? [];
    state.tuned = models.tuned;
    state.sets = sets.data;
    let wanted = state.sets.find((one) => one.id === asked.get("dataset")) ?? null;
    let settings = null;
    if (asked.get("example")) {
      const example = (await get("/luthier/v1/examples")).data.find((one) => one.name === asked.get("example"));
      if (!example) throw new ApiError(404, { message: "There is no such example." });
      wanted = await fromExample(example);
      if (!state.sets.some((one) => one.id === wanted.id)) state.sets = [wanted, ...state.sets];
      settings = example.recipe;
    }
    if (asked.get("from")) {
      const job = await get(path`/luthier/v1/jobs/${asked.get("from")}`);
      settings = { ...job.recipe, model: job.model };
      wanted = state.sets.find((one) => one.id === job.metadata?.dataset) ?? null;
      if (!wanted) state.version = { file_id: job.training_file, test_file_id: typeof job.recipe.data?.test === "string" ? job.recipe.data.test : null, task: job.task, rows: null, version: 0 };
    }
    if (wanted) await pick(wanted);
    if (settings) take(settings);
    drawTasks();
    drawModels();
    drawMethods();
    await drawData();
    if (state.version && !wanted) fill(byId("data"), notice("The data of the earlier run are used again."));
    changed();
  } catch (error) {
    fill(byId("data"), failed(error, begin));
  }
}
begin();
