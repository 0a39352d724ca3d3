// All runs, a page at a time; ticked ones can be compared.

import { byId, h } from "../dom.js";
import { RUN_COLUMNS, isActive, listRuns, runName } from "../runs.js";
import { every } from "../stream.js";
import { byCursor, paged } from "../table.js";
import { empty } from "../ui.js";

const PER_PAGE = 25;
const picked = new Set();
let anyActive = true;

const tick = { name: h("span", { class: "unseen" }, "Compare"), cell: (job) => h("input", { type: "checkbox", "aria-label": `Compare ${runName(job)}`, checked: picked.has(job.id),
  onchange: (event) => {
    if (event.target.checked) picked.add(job.id);
    else picked.delete(job.id);
    const button = byId("compare");
    button.hidden = picked.size < 2;
    button.href = `/compare?runs=${[...picked].map(encodeURIComponent).join(",")}`;
    button.textContent = `Compare ${picked.size}`;
  } }) };

const load = byCursor(async (after) => {
  const page = await listRuns(after, PER_PAGE);
  anyActive = page.data.some(isActive);
  return page;
});
const runs = paged("Runs", [tick, ...RUN_COLUMNS], load, {
  look: "runs",
  nothing: () => empty("No runs yet", "A run trains a model on your data and proves on rows it never saw whether it got better.", h("a", { class: "button primary", href: "/new" }, "New run")),
});
byId("runs").append(runs.element);
every(4, () => (anyActive && !runs.element.contains(document.activeElement) ? runs.reload({ quiet: true }) : undefined));
