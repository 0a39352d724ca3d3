// What searches, decisions and automatic runs have in common: names, heads, actions, lists, and being looked at again while they run.

import { get, path, post, role } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { count, duration } from "./format.js";
import { isActive, isOver } from "./runs.js";
import { every } from "./stream.js";
import { byCursor, paged } from "./table.js";
import { confirmed, during, empty, failed, notice, progress, statusTag, tag, when } from "./ui.js";

export const partName = (job) => job.metadata?.name || job.suffix || job.id.slice(-8);

const KINDS = { searches: "search", decisions: "decision", autos: "auto" };

/** The list of all searches, decisions or automatic runs. */
export function partList(kind, words, columns, nothing) {
  const list = paged(words, [
    { name: "Name", head: true, cell: (job) => [h("a", { href: path`/${kind}/${job.id}` }, partName(job)), h("span", { class: "muted small block" }, job.model)] },
    { name: "Status", cell: (job) => statusTag(job.status) },
    ...columns,
    { name: "Begun", number: true, cell: (job) => when(job.created_at) },
  ], byCursor((after) => get(`/luthier/v1/${kind}?limit=25${after ? `&after=${encodeURIComponent(after)}` : ""}`)), {
    nothing: () => empty(nothing[0], nothing[1], h("a", { class: "button primary", href: `/new?kind=${KINDS[kind]}` }, nothing[2])),
  });
  byId("list").append(list.element);
  every(6, () => (list.element.contains(document.activeElement) ? undefined : list.reload({ quiet: true })));
}

/**
 * One search, decision or automatic run: asked for again while it runs. `draw(job)` fills the rest of the page. `how` may
 * say other words: `share(job)` and `stand(job)` of its progress, `cancelled(job)` of what a cancel leaves; `warnings: false` where
 * the rest of the page tells them.
 */
export function partPage(kind, noun, draw, how = {}) {
  const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
  let job = null;

  async function refresh() {
    try {
      job = await get(path`/luthier/v1/${kind}/${id}`);
    } catch (error) {
      if (!job) fill(byId("top"), failed(error.status === 404 ? new Error(`There is no such ${noun} in this project.`) : error, error.status === 404 ? null : refresh));
      if (error.status === 404) return false;
      throw error;
    }
    head();
    await draw(job, refresh);
    return !isOver(job);
  }

  function head() {
    document.title = `${partName(job)} · Luthier`;
    byId("title").textContent = partName(job);
    fill(byId("subtitle"), statusTag(job.status), job.wanted ? [" ", tag(job.wanted === "pause" ? "pauses soon" : "stops now", "warn")] : null, ` ${job.model} · `, h("span", { class: "mono small" }, job.id));
    const key = `${job.status}${job.wanted}${job.fine_tuned_model}`;
    if (byId("actions").dataset.key !== key) {
      const act = (words, what, look = "") => h("button", { type: "button", class: `button ${look}`, onclick: (event) => during(event.currentTarget, async () => {
        if (what === "cancel" && !await confirmed(`Cancel this ${noun}?`, how.cancelled?.(job) ?? "It stops; what was measured so far can still be looked at.", "Cancel it")) return;
        await post(path`/luthier/v1/${kind}/${id}/${what}`);
        await refresh();
      }) }, words);
      fill(byId("actions"), job.status === "succeeded" ? h("a", { class: "button", href: path`/luthier/v1/${kind}/${id}/page`, download: "" }, "Download as a page") : null,
        job.fine_tuned_model ? h("a", { class: "button primary", href: `/try?model=${encodeURIComponent(job.fine_tuned_model)}` }, "Try it") : null,
        job.fine_tuned_model && role !== "read" ? h("a", { class: "button", href: `/models?deploy=${encodeURIComponent(job.fine_tuned_model)}` }, "Deploy") : null,
        role === "read" ? null : [isActive(job) && !job.wanted ? act("Pause", "pause") : null, job.status === "paused" ? act("Resume", "resume", "primary") : null, isOver(job) ? null : act("Cancel", "cancel", "danger")]).dataset.key = key;
    }
    const left = job.status === "running" && job.estimated_finish ? Math.max(0, job.estimated_finish - Date.now() / 1000) : null;
    fill(byId("top"), job.error ? h("div", { class: "notice wrong", role: "alert" }, job.error.message) : null,
      job.verdict ? h("div", { class: "card verdict" }, h("p", { class: "lead-in flat" }, job.verdict)) : null,
      isOver(job) ? null : h("div", { class: "card now" }, progress(how.share ? how.share(job, left) : job.total ? job.done / job.total : null, `Progress of ${partName(job)}`),
        h("p", { class: "muted small flat" }, how.stand ? how.stand(job, left) : [job.total ? `${count(job.done)} of ${count(job.total)}` : "Starting", left !== null ? `at most ${duration(left)} left` : ""].filter(Boolean).join(", "))),
      how.warnings === false ? null : job.warnings.map((one) => notice(one, "warn")));
    byId("top").classList.toggle("filled", byId("top").childElementCount > 0);
  }

  every(3, refresh);
}
