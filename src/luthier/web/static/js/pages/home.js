// Home: nothing yet leads to a first model; else what runs, what is done, and the machine.

import { get, maybe, path } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { bytes, several, short } from "../format.js";
import { RUN_COLUMNS, asRun, isActive, listRuns, runLink, runProgress, stand, taskWords } from "../runs.js";
import { every } from "../stream.js";
import { table } from "../table.js";
import { bar, empty, facts, failed, list, show, statusTag, when } from "../ui.js";

const SECONDS = 3;
const PARTS_SECONDS = 15;
const SHOWN = 4;
let examplesShown = false;

/** The first sentence of a text, or as much as fits. */
const firstSentence = (text) => short(text.match(/^.{20,140}?[.?!](?=\s|$)/)?.[0] ?? text, 140);

let parts = [];
let partsAt = -Infinity;

/** Searches, decisions and automatic runs; those that rest are asked for less often. */
async function latestParts() {
  if (parts.some(isActive) || Date.now() - partsAt > 1000 * PARTS_SECONDS) {
    partsAt = Date.now();
    const found = await Promise.all(["autos", "searches", "decisions"].map((kind) => get(path`/luthier/v1/${kind}?limit=10`)));
    parts = found.flatMap((one) => one.data).map(asRun);
  }
  return parts;
}

async function refresh() {
  let page;
  let jobs;
  try {
    page = await listRuns(null, 50);
    jobs = [...page.data, ...await latestParts()].sort((one, other) => other.created_at - one.created_at);
  } catch (error) {
    if (!byId("recent").dataset.filled) fill(byId("recent"), failed(error, refresh));
    throw error;
  }
  byId("recent").dataset.filled = "yes";
  const active = jobs.filter((job) => isActive(job) || job.status === "paused");
  byId("running").hidden = active.length === 0;
  if (active.length) fill(byId("running").querySelector("[data-body]"), running(active));
  const over = jobs.filter((job) => !active.includes(job)).slice(0, 10);
  fill(byId("recent"), over.length ? table("Latest runs", RUN_COLUMNS, over, { look: "runs" })
    : empty(active.length ? "No run is over yet" : "No runs yet", active.length ? "The first one will stand here when it is done." : "Train a model on an example, or on your own data.",
      h("a", { class: "button", href: "/new" }, "New run")));
  byId("summary").textContent = summary(jobs, page.has_more);
  if (jobs.length === 0) await welcome();
  else byId("welcome").hidden = true;
}

function summary(jobs, more) {
  const failedRuns = jobs.filter((job) => job.status === "failed").length;
  const done = jobs.filter((job) => job.status === "succeeded").length;
  const active = jobs.filter(isActive).length;
  if (!jobs.length) return "Nothing has run here yet.";
  const words = [active ? `${several(active, "run")} under way` : "", done ? `${done} succeeded` : "", failedRuns ? `${failedRuns} failed` : ""].filter(Boolean).join(", ");
  return words ? `${more ? "Of the last 50: " : ""}${words}.` : "Nothing runs at the moment.";
}

const running = (jobs) => list(jobs.slice(0, 8).map((job) => h("div", { class: "running-job" },
  h("div", { class: "card-head" }, h("strong", null, runLink(job)), statusTag(job.status)),
  job.status === "running" ? runProgress(job) : null,
  h("p", { class: "muted small" }, stand(job)))));

async function welcome() {
  if (examplesShown) return;
  examplesShown = true;
  const box = byId("welcome");
  const found = await maybe("/luthier/v1/examples").catch(() => null);
  const examples = found?.data ?? [];
  const choice = (one) => h("a", { class: "choice-link", href: `/new?example=${encodeURIComponent(one.name)}` },
    h("strong", null, one.title.split(":")[0]), h("span", null, firstSentence(one.summary)), h("span", { class: "small" }, `${taskWords(one.task)} · ${several(one.rows, "row")}`));
  fill(box, h("section", { class: "card welcome", "aria-labelledby": "welcome-h" },
    h("h2", { id: "welcome-h" }, "Train your first model"),
    h("ol", { class: "steps" }, h("li", null, "Pick an example below"), h("li", null, "Press Start training: a few minutes on this machine"), h("li", null, "Try the model, beside the numbers that say how good it is")),
    examples.length ? h("div", { class: "choices" }, examples.slice(0, SHOWN).map(choice)) : null,
    examples.length > SHOWN ? h("details", null, h("summary", null, `${examples.length - SHOWN} more examples`), h("div", { class: "choices" }, examples.slice(SHOWN).map(choice))) : null,
    h("p", { class: "actions own" }, h("a", { class: "button", href: "/data" }, "Use my own data"), h("span", { class: "muted small" }, "A CSV with a text and a label in each row is enough."))));
  byId("hello").textContent = "Welcome to Luthier";
  byId("recent-card").hidden = byId("models-card").hidden = true;
  box.hidden = false;
}

async function machine() {
  const system = await maybe("/luthier/v1/system");
  if (!system) {
    const health = await get("/healthz");
    return facts([["Store", health.store], ["Engine", health.engine], ["Supervisor", health.supervisor]]);
  }
  return machineFacts(system);
}

function machineFacts(system) {
  const space = (name, total, free) => total && [name, h("span", null, bar(1 - free / total, free / total < 0.1 ? "full" : "soft"),
    h("span", { class: "small muted block" }, `${bytes(free)} free of ${bytes(total)}`))];
  const engine = { ready: "ready to answer", starting: "starting", pausing: "down; starts again by itself" };
  return facts([space("Disk", system.disk.total_bytes, system.disk.free_bytes), space("Memory", system.memory.total_bytes, system.memory.available_bytes),
    ["Trains on", system.devices.map((one) => one.title).join(", ")],
    ["Engine", engine[system.parts.engine] ?? system.parts.engine],
    ["Workers", system.parts.supervisor ? "" : "not working: see the server's log"],
    ["Version", `Luthier ${system.version}`]].filter(Boolean));
}

async function models() {
  const all = (await get("/v1/models")).data.filter((one) => one.id.startsWith("ft:") && !one.id.includes(":ckpt-step-"));
  if (!all.length) return h("p", { class: "muted" }, "What you train stands here, ready to try.");
  return list(all.slice(0, 5).map((one) => h("div", { class: "model-line" }, h("span", { class: "mono small" }, one.id),
    h("span", { class: "muted small" }, when(one.created), " · ", h("a", { href: `/try?model=${encodeURIComponent(one.id)}` }, "Try", h("span", { class: "unseen" }, ` ${one.id}`))))));
}

every(SECONDS, refresh);
show(byId("machine"), machine, 4);
every(20, () => byId("machine").getAttribute("aria-busy") ? undefined : machine().then((found) => fill(byId("machine"), found)));
show(byId("models"), models);
