// All searches.

import { partList } from "../part_jobs.js";
import { metricWords } from "../runs.js";

partList("searches", "Searches", [
  { name: "Trials", number: true, cell: (job) => (job.total ? `${job.done} of ${job.total}` : String(job.done ?? 0)) },
  { name: "Looks for", words: true, cell: (job) => job.parameters.map((one) => one.name.split(".").pop().replaceAll("_", " ")).join(", ") },
  { name: "Best", number: true, cell: (job) => (typeof job.best?.value === "number" ? metricWords(job.metric ?? "", job.best.value) : "–") },
], ["No searches yet", "A search tries many settings on the same rows, stops the hopeless ones early, and says which settings mattered.", "New search"]);
