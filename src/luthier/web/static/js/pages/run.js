// One run: what it does now, its curves, samples, events and checkpoints; what may be done with it; its report.

import { get, maybe, path, post, role } from "../api.js";
import { runCurves } from "../curves.js";
import { byId, external, fill, h } from "../dom.js";
import { count, duration, number, short } from "../format.js";
import { whole } from "../report.js";
import { act, isActive, isOver, runName, runProgress, secondsLeft, share, stand, taskWords } from "../runs.js";
import { every, follow } from "../stream.js";
import { table } from "../table.js";
import { code, confirmed, copyButton, dialog, during, facts, failed, field, list, notice, show, statusTag, tabs, tag, toast, when } from "../ui.js";

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const MOST_EVENTS = 300;
const curves = runCurves(byId("curves"), id);
let job = null;
let reported = false;
let samplesSeen = 0;
const mirrors = new Map();

async function refresh() {
  try {
    job = await get(path`/luthier/v1/jobs/${id}`);
  } catch (error) {
    if (!job) fill(byId("top"), failed(error.status === 404 ? new Error("There is no such run in this project.") : error, error.status === 404 ? null : refresh));
    if (error.status === 404) return false;
    throw error;
  }
  head();
  top();
  about();
  await Promise.allSettled([curves.refresh().then((found) => found.measured === 0 && isOver(job) && curves.empty() && (curves.hint.textContent = "No step was taken.")), checkpoints(), samples()]);
  if (isOver(job) && !reported) await report();
  return !isOver(job);
}

function head() {
  document.title = `${runName(job)} · Luthier`;
  byId("title").textContent = runName(job);
  fill(byId("subtitle"), statusTag(job.status), job.wanted ? [" ", tag(job.wanted === "pause" ? "pauses after the next checkpoint" : "stops now", "warn")] : null, ` ${taskWords(job.task)} · ${job.base_model} · `, h("span", { class: "mono small" }, job.id));
  const can = role !== "read";
  const buttons = [];
  const button = (words, work, look = "") => buttons.push(h("button", { type: "button", class: `button ${look}`, onclick: (event) => during(event.currentTarget, work) }, words));
  if (job.fine_tuned_model) buttons.push(h("a", { class: "button primary", href: `/try?model=${encodeURIComponent(job.fine_tuned_model)}` }, "Try it"));
  if (can && isActive(job) && !job.wanted) button("Pause", () => change("pause", "The run pauses after its next checkpoint."));
  if (can && job.status === "paused") button("Resume", () => change("resume", "The run goes on."), "primary");
  if (can && job.status === "succeeded") button("Train longer", extend);
  if (can) buttons.push(h("a", { class: "button", href: `/new?from=${encodeURIComponent(job.id)}` }, "Change and run again"));
  if (can && !isOver(job)) button("Cancel", cancel, "danger");
  const key = `${job.status}${job.fine_tuned_model}${job.wanted}`;
  if (byId("actions").dataset.key !== key) fill(byId("actions"), buttons).dataset.key = key;
}

async function change(what, words) {
  await act(job, what);
  toast(words, "good");
  await refresh();
}

async function cancel() {
  if (await confirmed("Cancel this run?", "It stops and gives no model. Its checkpoints up to now stay, if there are any.", "Cancel the run")) await change("cancel", "The run was cancelled.");
}

function extend() {
  const epochs = h("input", { type: "number", min: "1", max: "100", value: "1", required: true });
  const box = dialog("Train longer", h("p", null, "The training goes on from the last checkpoint, with the same data, as a run of its own."),
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      during(event.submitter, async () => {
        const longer = await post(path`/luthier/v1/jobs/${id}/extend`, { epochs: Number(epochs.value) });
        location.assign(`/runs/${encodeURIComponent(longer.id)}`);
      });
    } }, field("Further epochs", epochs), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Start"))));
  epochs.focus();
  return box;
}

function top() {
  const parts = [];
  if (job.status === "failed") parts.push(h("div", { class: "notice wrong", role: "alert" }, h("p", null, h("strong", null, "The run failed. "), job.error?.message ?? ""),
    job.error?.code ? h("p", { class: "small" }, "Code ", h("code", null, job.error.code)) : null));
  if (job.status === "cancelled") parts.push(notice("This run was cancelled; it gave no model."));
  if (!isOver(job)) {
    const left = secondsLeft(job);
    parts.push(h("div", { class: "card now" }, job.status === "running" ? runProgress(job) : null, h("div", { class: "figures" },
      figure("Now", job.status === "running" ? (job.total_steps ? `${Math.round(100 * share(job))}\u00a0%` : "Starting") : stand(job)),
      job.total_steps ? figure("Step", `${count(job.step)} of ${count(job.total_steps)}`) : null,
      left !== null ? figure("Left", `about ${duration(left)}`) : null,
      figure("Since", when(job.created_at)))));
  }
  fill(byId("top"), parts);
  byId("top").classList.toggle("filled", parts.length > 0);
}

const figure = (name, value) => h("div", null, h("span", { class: "muted" }, name), h("span", { class: "value" }, value));

function about() {
  const train = job.recipe?.train ?? {};
  const chosen = (key) => job.chosen?.[key] ?? job.chosen?.[`train.${key}`] ?? train[key];
  fill(byId("about"), facts([
    ["Task", taskWords(job.task)],
    ["Base model", job.model],
    ["Tuned model", job.fine_tuned_model ? [h("span", { class: "mono small" }, job.fine_tuned_model), " ", copyButton(job.fine_tuned_model)] : ""],
    ["Method", job.recipe?.method?.kind],
    ["Epochs", chosen("epochs") ?? job.hyperparameters?.n_epochs],
    ["Learning rate", typeof chosen("learning_rate") === "number" ? chosen("learning_rate").toExponential(1) : chosen("learning_rate")],
    ["Batch", chosen("batch_size")],
    ["Longest text", chosen("max_length") && chosen("max_length") !== "auto" ? `${chosen("max_length")} tokens` : ""],
    ["Seed", String(job.seed)],
    ["Data", job.metadata?.dataset ? h("a", { href: `/data/${encodeURIComponent(job.metadata.dataset)}` }, job.metadata.dataset_name ?? job.metadata.dataset) : h("span", { class: "mono small" }, job.training_file)],
    ["Goes on from", job.origin ? h("a", { href: `/runs/${encodeURIComponent(job.origin.job)}` }, `a run of ${job.origin.epochs} epochs`) : ""],
    ["Trained tokens", job.trained_tokens ? count(job.trained_tokens) : ""],
    ["Took", job.finished_at && job.started_at ? duration(job.finished_at - job.started_at) : ""],
    ["Elsewhere", trackers()],
  ]));
}

/** Links to MLflow and others, of which the run's events tell. */
function trackers() {
  return mirrors.size ? list([...mirrors].map(([kind, place]) => h("span", null, `${kind}: `, external(place)))) : "";
}

async function checkpoints() {
  const found = (await get(path`/v1/fine_tuning/jobs/${id}/checkpoints?limit=20`)).data;
  byId("checkpoints-card").hidden = found.length === 0;
  if (found.length) fill(byId("checkpoints"), list(found.map((one) => h("div", { class: "card-head flat" }, h("span", null, `Step ${one.step_number}`,
    h("span", { class: "muted small" }, typeof one.metrics.valid_loss === "number" ? ` · validation loss ${number(one.metrics.valid_loss)}` : "")),
  h("a", { href: `/try?model=${encodeURIComponent(one.fine_tuned_model_checkpoint)}` }, "Try", h("span", { class: "unseen" }, ` the checkpoint of step ${one.step_number}`))))));
}

async function samples() {
  const sets = (await get(path`/luthier/v1/jobs/${id}/samples?limit=100`)).data;
  if (!sets.length || sets.length === samplesSeen) return;
  samplesSeen = sets.length;
  byId("samples-card").hidden = false;
  const shown = sets.length > 4 ? [sets[0], ...sets.slice(-3)] : sets;
  fill(byId("samples"), sets[0].samples.map((first, i) => h("div", { class: "sample" }, h("p", { class: "said" }, h("strong", null, short(first.prompt, 600))),
    h("dl", null, shown.map((set) => [h("dt", null, set.step === 0 ? "Before" : `Step ${set.step}`), h("dd", { class: "said" }, set.samples[i]?.output || h("span", { class: "muted" }, "nothing"))]),
      first.reference ? [h("dt", null, "Wanted"), h("dd", { class: "said wanted" }, first.reference)] : null))));
}

async function report() {
  reported = true;
  const found = job.status === "succeeded" ? await maybe(path`/luthier/v1/jobs/${id}/report.json`) : null;
  if (!found) return;
  const box = byId("report");
  box.hidden = false;
  fill(box, whole(id, found));
}

function events() {
  const box = byId("events");
  const lines = h("ol", { class: "plain log", "aria-label": "Events, newest first" });
  fill(box, lines);
  const waiting = [];
  let pending = null;
  const flush = () => {
    pending = null;
    for (const event of waiting.splice(0).slice(-MOST_EVENTS)) lines.prepend(h("li", { class: event.level === "info" ? "" : event.level }, h("span", { class: "muted small" }, clock(event.created_at)), " ",
      event.level === "info" ? null : tag(event.level === "warn" ? "Warning" : "Error", event.level === "warn" ? "warn" : "wrong"), " ", event.message));
    while (lines.childElementCount > MOST_EVENTS) lines.lastElementChild.remove();
  };
  follow(path`/v1/fine_tuning/jobs/${id}/events?stream=true`, {
    onEvent: (event) => {
      if (event.type === "metrics" && job && !isOver(job)) soon();
      if (event.data?.tracking) {
        mirrors.set(event.data.tracking.kind, event.data.tracking.place);
        if (job) about();
      }
      if (event.type !== "metrics") {
        waiting.push(event);
        pending ??= setTimeout(flush, 150);
      }
    },
    onState: (state) => {
      byId("live").textContent = { open: job && isOver(job) ? "" : "Live", waiting: "The connection broke; trying again", over: "" }[state];
      if (state === "over") refresh();
    },
  });
}

const clock = (stamp) => new Date(stamp * 1000).toLocaleTimeString("en", { hour12: false });

let timer = null;
/** An event came: look at the job again, at most once a second. */
function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    refresh().catch((error) => console.debug(error));
  }, 1000);
}

async function recipe() {
  if (role === "read") return code(JSON.stringify(job.recipe, null, 2), "Recipe"); // writing it down anew is a POST
  const found = await post("/luthier/v1/recipes", { recipe: job.recipe, suffix: job.user_provided_suffix ?? undefined });
  return tabs("The run as", [["Recipe", code(found.yaml, "Recipe")], ["Python", code(found.python, "Python")], ["Command", code(found.command, "Command line")], ["curl", code(found.curl, "curl")]]);
}

refresh().then(() => {
  if (!job) return;
  events();
  show(byId("recipe"), recipe);
  every(5, async () => (isOver(job) ? false : refresh()));
}).catch(() => {});
