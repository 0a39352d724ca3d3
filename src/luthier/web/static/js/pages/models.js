// Endpoints, tuned models and the catalogue of base models.

import { get, maybe, path, post, remove, role } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { bytes, count, duration } from "../format.js";
import { allModels, shortName } from "../models.js";
import { modelDetails, snippets, traffic } from "../model_parts.js";
import { taskWords } from "../runs.js";
import { every } from "../stream.js";
import { table } from "../table.js";
import { confirmed, dialog, during, empty, field, list, select, show, tag, toast, when } from "../ui.js";

const can = role !== "read";
const MOST = 200;
const IDLE = [["600", "After 10 minutes without a call"], ["3600", "After an hour"], ["86400", "After a day"], ["0", "Never"]];
const tryLink = (model, words = "Try") => h("a", { class: "button small", href: `/try?model=${encodeURIComponent(model)}` }, words, h("span", { class: "unseen" }, ` ${model}`));
const button = (words, work, look = "", whom = "") => h("button", { type: "button", class: `button small ${look}`, onclick: (event) => during(event.currentTarget, work) }, words, whom ? h("span", { class: "unseen" }, ` ${whom}`) : null);

async function endpoints() {
  byId("deploy").hidden = !can;
  const all = (await get("/luthier/v1/endpoints")).data;
  if (!all.length) return empty("No endpoints yet", "An endpoint gives a model a name of your own, keeps it loaded, and counts its traffic.");
  return table("Endpoints", [
    { name: "Name", head: true, cell: (one) => [h("strong", null, one.name), h("span", { class: "muted small mono block" }, one.model)] },
    { name: "State", cell: (one) => (one.state === "running" ? tag(one.loaded ? "Running" : "Running, asleep", one.loaded ? "live" : "even") : tag("Stopped")) },
    { name: "Sleeps", cell: (one) => (one.idle_seconds ? `after ${duration(one.idle_seconds)}` : "never") },
    { name: "Made", number: true, cell: (one) => when(one.created_at) },
    { name: h("span", { class: "unseen" }, "Actions"), cell: (one) => h("div", { class: "actions" }, one.state === "running" ? tryLink(one.name) : null,
      button("Details", () => details(one), "", `of ${one.name}`),
      can ? one.state === "running" ? button("Stop", () => act(one, "stop"), "", one.name) : button("Start", () => act(one, "start"), "", one.name) : null,
      can ? button("Delete", () => erase(one), "danger", one.name) : null) },
  ], all);
}

/** Traffic of an endpoint, and how programs call what its model is. */
async function details(one) {
  const models = await allModels();
  const kind = [...models.tuned, ...models.checkpoints, ...models.base].find((other) => other.id === one.model)?.kind;
  const { box } = dialog(`Endpoint ${one.name}`, traffic(one), h("h3", null, "Call it"), snippets(one.name, kind));
  box.classList.add("wide-dialog");
}

async function act(one, what) {
  await post(path`/luthier/v1/endpoints/${one.id}/${what}`);
  await refresh();
}

async function erase(one) {
  if (!await confirmed("Delete this endpoint?", `Programs that call ${one.name} are refused from now on. The model itself stays.`, "Delete it")) return;
  await remove(path`/luthier/v1/endpoints/${one.id}`);
  await refresh();
}

const refresh = async () => fill(byId("endpoints"), await endpoints());

export async function deploy(model) {
  const models = await allModels();
  const name = h("input", { required: true, pattern: "[a-z0-9][a-z0-9\\-]{0,62}", autocomplete: "off", spellcheck: "false", placeholder: "support" });
  const which = h("select", null, [...models.tuned, ...models.checkpoints, ...models.base].map((one) => h("option", { value: one.id, selected: one.id === model }, one.id)));
  const idle = select(IDLE, "600");
  const { close } = dialog("Deploy a model", h("form", { onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => {
      await post("/luthier/v1/endpoints", { name: name.value, model: which.value, idle_seconds: Number(idle.value) });
      close();
      toast(`${name.value} answers now.`, "good");
      await refresh();
    });
  } }, field("Name", name, "Small letters, digits and hyphens; programs use it as the model"), field("Model", which), field("It is unloaded", idle), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Deploy"))));
  name.focus();
}

async function tuned() {
  const models = await allModels();
  if (!models.tuned.length) return empty("Nothing tuned yet", "Each finished run leaves a model here.", h("a", { class: "button primary", href: "/new" }, "New run"));
  return [table("Tuned models", [
    { name: "Model", head: true, words: true, cell: (one) => [h("strong", null, shortName(one.id)), h("span", { class: "muted small mono block" }, one.id)] },
    { name: "Base", cell: (one) => one.base },
    { name: "Made", number: true, cell: (one) => when(one.created) },
    { name: h("span", { class: "unseen" }, "Actions"), cell: (one) => h("div", { class: "actions" }, tryLink(one.id), can ? button("Deploy", () => deploy(one.id), "", one.id) : null,
      h("button", { type: "button", class: "button small", onclick: () => { const { box } = dialog(shortName(one.id), modelDetails(one)); box.classList.add("wide-dialog"); } }, "Details", h("span", { class: "unseen" }, ` of ${one.id}`)),
      can ? button("Delete", () => eraseModel(one), "danger", one.id) : null) },
  ], models.tuned.slice(0, MOST)), models.tuned.length > MOST ? h("p", { class: "muted small" }, `The newest ${MOST} of ${count(models.tuned.length)}.`) : null];
}

async function eraseModel(one) {
  if (!await confirmed("Delete this model?", `${one.id} and its weights go. The run and its report stay.`, "Delete it")) return;
  await remove(`/v1/models/${one.id.split("/").map(encodeURIComponent).join("/")}`);
  location.reload();
}

async function catalogue() {
  const found = await maybe("/luthier/v1/catalogue");
  if (!found) return list((await allModels()).base.map((one) => h("div", { class: "card-head flat" }, h("span", null, one.id), one.kind === "generative" ? tryLink(one.id) : null)));
  return table("Base models", [
    { name: "Model", head: true, words: true, cell: (one) => [h("strong", null, one.title ?? one.name), one.source === "folder" ? h("span", { class: "muted small block" }, one.notes) : h("span", { class: "muted small mono block" }, one.name)] },
    { name: "Learns to", words: true, cell: (one) => (one.tasks ?? []).map((task) => taskWords(task).toLowerCase()).join(", ") },
    { name: "Weights", number: true, cell: (one) => (one.parameters ? `${(one.parameters / 1e6).toFixed(1)} M` : "–") },
    { name: "Reads", number: true, cell: (one) => (one.context ? `${count(one.context)} tokens` : "–") },
    { name: "Licence", cell: (one) => one.licence ?? "not known" },
    { name: "Here", cell: (one) => (one.here ? [tag("yes", "good"), one.bytes ? h("span", { class: "muted small block" }, bytes(one.bytes)) : null] : [tag("not yet", "even"), one.install ? h("code", { class: "small block" }, one.install) : null]) },
    { name: h("span", { class: "unseen" }, "Actions"), cell: (one) => (one.kind === "generative" && one.here ? tryLink(one.name) : null) },
  ], found.data);
}

byId("deploy").addEventListener("click", () => deploy());
const wanted = new URLSearchParams(location.search).get("deploy");
if (wanted && can) deploy(wanted);
show(byId("endpoints"), endpoints);
show(byId("tuned"), tuned);
show(byId("catalogue"), catalogue);
every(10, async () => (document.querySelector("dialog") || byId("endpoints").contains(document.activeElement) ? undefined : refresh()));
