// All decisions.

import { h } from "../dom.js";
import { partList } from "../part_jobs.js";

partList("decisions", "Decisions", [
  { name: "Arms", number: true, cell: (job) => (job.total ? `${job.done} of ${job.total}` : String(job.done ?? 0)) },
  { name: "Verdict", words: true, cell: (job) => h("span", { class: "clip" }, job.verdict ?? "") },
], ["Nothing decided yet", "Before you fine-tune: would a good prompt do, or retrieval? All are measured on your held-out rows, with their cost.", "New decision"]);
