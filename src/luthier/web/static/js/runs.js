// What several pages say about runs: their names, rows, and what became of them.

import { get, path, post } from "./api.js";
import { h } from "./dom.js";
import { duration, percent, number, several } from "./format.js";
import { progress, statusTag, when } from "./ui.js";

export const TASKS = {
  classify: ["Sort texts into labels", "Each text gets one of your labels, or several."],
  regress: ["Predict a number", "Each text gets a score, such as a rating."],
  extract: ["Mark parts of a text", "Names, doses, places: spans with a label."],
  chat: ["Answer in a conversation", "Learns what the assistant says in your chats."],
  complete: ["Continue a text", "Learns to write on, from plain text or prompts."],
};
export const taskWords = (task) => TASKS[task]?.[0] ?? task;
const OVER = new Set(["succeeded", "failed", "cancelled"]);
export const isOver = (job) => OVER.has(job.status);
export const isActive = (job) => ["validating_files", "queued", "running"].includes(job.status);

/** What people call a run: its own name, else its suffix, else its base model and the end of its id. */
export const runName = (job) => job.metadata?.name || job.user_provided_suffix || `${job.base_model ?? job.model} ${job.id.slice(-6)}`;
const PARTS = { search: ["Search", "trial"], decision: ["Decision", "arm"], auto: ["Chosen for you", "candidate"] };
/** The page of a training, a search, a decision or an automatic run, by its id. */
export const runAddress = (id) => (id.startsWith("search-") ? path`/searches/${id}` : id.startsWith("decision-") ? path`/decisions/${id}` : id.startsWith("auto-") ? path`/autos/${id}` : path`/runs/${id}`);
/** A search, a decision or an automatic run with the names that a training has for the same. */
export const asRun = (job) => ({ ...job, base_model: job.model, user_provided_suffix: job.suffix, step: job.done, total_steps: job.total });
export const runLink = (job) => h("a", { href: runAddress(job.id) }, runName(job));

/** The share of a run that is done, or null while nobody knows. */
export const share = (job) => (job.object === "auto" ? timeShare(job, secondsLeft(job)) : job.total_steps ? job.step / job.total_steps : null);

/** The share of its budget that an automatic run has used, or null while nobody knows. */
export const timeShare = (job, left) => (left === null || !job.budget_seconds ? null : Math.max(0, Math.min(1, 1 - left / job.budget_seconds)));

/** Seconds until a running job is over, or null. */
export const secondsLeft = (job) => (job.status === "running" && job.estimated_finish ? Math.max(0, job.estimated_finish - Date.now() / 1000) : null);

/** Where a run stands, in a few words. */
export function stand(job) {
  const part = PARTS[job.object];
  if (job.status === "running" && part && job.step) {
    const left = secondsLeft(job);
    return `${job.object === "auto" ? several(job.step, part[1]) : `${job.step} of ${several(job.total_steps, part[1])}`}${left === null ? "" : `, at most ${duration(left)} left`}`;
  }
  if (job.status === "running" && job.total_steps && !part) {
    const left = secondsLeft(job);
    return `Step ${job.step} of ${job.total_steps}${left === null ? "" : `, about ${duration(left)} left`}`;
  }
  if (job.status === "running") return "Starting";
  if (job.status === "failed") return job.error?.message ?? "It failed.";
  if (job.status === "queued") return "Waits for its turn";
  if (job.status === "validating_files") return "The data are being checked";
  if (job.status === "paused") return job.step && !part ? `Paused at step ${job.step}` : "Paused";
  return "";
}

export const runProgress = (job) => progress(job.status === "running" ? share(job) : 0, `Progress of ${runName(job)}`);

/** The main number of a finished run as words: "accuracy 91.7 %". */
export function mainMetric(job) {
  const found = primary(job.metrics);
  return found ? `${found.name.replaceAll("_", " ")} ${found.words}` : "";
}

const SHARES = /accuracy|f1|precision|recall|match|auc|share|rate$/;
/** A metric as people read it; shares of one as percent. */
export const metricWords = (name, value) => (SHARES.test(name) && value >= -1 && value <= 1 ? percent(value) : number(value));

function primary(metrics) {
  if (!metrics || typeof metrics !== "object") return null;
  const own = metrics.primary ?? metrics.tuned ?? metrics;
  if (typeof own.value === "number") return { name: own.name ?? "score", words: metricWords(own.name ?? "", own.value) };
  for (const name of ["accuracy", "macro_f1", "micro_f1", "f1", "spearman", "mae", "perplexity", "loss"]) {
    const value = typeof own[name] === "object" ? own[name]?.value : own[name];
    if (typeof value === "number") return { name, words: metricWords(name, value) };
  }
  return null;
}

/** Columns of a table of runs. */
export const RUN_COLUMNS = [
  { name: "Run", head: true, cell: (job) => [runLink(job), h("span", { class: "muted small block" }, [PARTS[job.object]?.[0], taskWords(job.task), job.base_model].filter(Boolean).join(" · "))] },
  { name: "Status", cell: (job) => statusTag(job.status) },
  { name: "Result", words: true, cell: (job) => h("span", { class: job.status === "failed" ? "clip" : "muted clip" }, mainMetric(job) || stand(job)) },
  { name: "Took", number: true, cell: (job) => (job.finished_at && job.started_at ? duration(job.finished_at - job.started_at) : "–") },
  { name: "Begun", number: true, cell: (job) => when(job.created_at) },
];

export const listRuns = (after, limit = 20) => get(`/luthier/v1/jobs?limit=${limit}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
export const act = (job, what, body) => post(path`/v1/fine_tuning/jobs/${job.id}/${what}`, body);
