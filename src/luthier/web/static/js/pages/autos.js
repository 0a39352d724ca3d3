// All automatic runs.

import { duration } from "../format.js";
import { partList } from "../part_jobs.js";
import { mainMetric } from "../runs.js";

partList("autos", "Automatic runs", [
  { name: "Budget", number: true, cell: (job) => duration(job.budget_seconds) },
  { name: "Candidates", number: true, cell: (job) => String(job.done ?? 0) },
  { name: "Winner", words: true, cell: (job) => job.best?.name ?? "–" },
  { name: "Result", words: true, cell: (job) => mainMetric(job) || "–" },
], ["No automatic runs yet", "Give a time budget: methods and settings are tried on your rows, the hopeless ones are ended early, and the winner is trained afresh.", "New automatic run"]);
