// One data set: its rows, what the check found and how to mend it, pictures of labels and lengths, its versions.

import { get, path, post, remove, role } from "../api.js";
import { checked, versionsOf } from "../datasets.js";
import { byId, fill, h } from "../dom.js";
import { bytes, count, several } from "../format.js";
import { findingsView } from "../findings.js";
import { pictures } from "../pictures.js";
import { rowsView } from "../rows.js";
import { runAddress, taskWords } from "../runs.js";
import { table } from "../table.js";
import { confirmed, dialog, during, failed, field, loading, select, show, statusTag, tabs, toast, when } from "../ui.js";

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
let set = null;
let versions = [];
let version = null;
let tab = 0;
const shown = Number(new URLSearchParams(location.search).get("row")) || null;

const ORIGINS = { file: "an uploaded file", path: "a path of the server", url: "an address", example: "a shipped example", fixes: "fixes" };
function origin(one) {
  const from = one.origin ?? {};
  if (from.kind !== "fixes") return `from ${ORIGINS[from.kind] ?? "a file"}`;
  const done = [["dropped", "left out"], ["added", "added"], ["corrected", "corrected"]].filter(([name]) => from[name]).map(([name, words]) => `${several(from[name], "row")} ${words}`);
  if (from.renamed && Object.keys(from.renamed).length) done.push("columns renamed");
  return `version ${from.base ?? one.version - 1} with ${done.join(", ") || "fixes"}`;
}

async function begin() {
  try {
    set = await get(path`/luthier/v1/datasets/${id}`);
    versions = await versionsOf(id);
  } catch (error) {
    fill(byId("content-of-set"), failed(error.status === 404 ? new Error("There is no such data set in this project.") : error, error.status === 404 ? null : begin));
    return;
  }
  const wanted = Number(new URLSearchParams(location.search).get("version"));
  version = versions.find((one) => one.version === wanted) ?? versions[0];
  draw();
}

function draw() {
  document.title = `${set.name} · Luthier`;
  byId("title").textContent = set.name;
  fill(byId("subtitle"), `Version ${version.version} · ${several(version.rows, "row")} · ${bytes(version.bytes)}${version.task ? ` · ${taskWords(version.task)}` : ""}`);
  const newer = version.version !== set.latest.version;
  fill(byId("actions"), versions.length > 1 ? labelled(select(versions.map((one) => [String(one.version), `Version ${one.version}${one.version === set.latest.version ? " (newest)" : ""}`]), String(version.version), (value) => {
    version = versions.find((one) => String(one.version) === value);
    history.replaceState(null, "", `?version=${version.version}`);
    draw();
  }), "Version") : null,
  role === "read" ? null : [h("button", { type: "button", class: "button", onclick: rename }, "Rename"),
    h("button", { type: "button", class: "button danger", onclick: (event) => erase(event.currentTarget) }, "Delete"),
    h("a", { class: "button primary", href: `/new?dataset=${encodeURIComponent(id)}` }, newer ? "Train on the newest" : "Train on it")]);

  const findings = h("div", null, loading(5));
  const picture = h("div", null, loading(5));
  const report = checked(id, version.version);
  report.catch(() => {});
  show(findings, async () => findingsView(set, version, await report, changed), 5);
  show(picture, async () => pictures(await report), 5);
  fill(byId("content-of-set"), h("div", { class: "card" }, h("h2", { class: "unseen" }, "What is in it"), tabs("Parts of the data set", [
    ["Rows", rowsView(id, version, changed, shown)], ["Findings", findings], ["Labels and lengths", picture], ["Versions", history_()],
  ], { picked: tab, onPick: (number) => { tab = number; } })));
  const mine = version;
  report.then((found) => {
    const bad = found.findings.length;
    const head = byId("content-of-set").querySelectorAll('[role="tab"]')[1];
    if (mine === version && head) head.textContent = bad ? `Findings (${count(found.stats?.findings?.total ?? bad)})` : "Findings";
  }).catch(() => {});
}

const labelled = (control, label) => {
  control.setAttribute("aria-label", label);
  return control;
};

/** A new version was made. */
async function changed(made) {
  toast(`Version ${made.version} has ${several(made.rows, "row")}.`, "good");
  history.replaceState(null, "", location.pathname);
  await begin();
}

function history_() {
  return table("Versions", [
    { name: "Version", head: true, cell: (one) => h("a", { href: `?version=${one.version}` }, `Version ${one.version}`) },
    { name: "How it came about", words: true, cell: origin },
    { name: "Rows", number: true, cell: (one) => count(one.rows) },
    { name: "Size", number: true, cell: (one) => bytes(one.bytes) },
    { name: "Made", number: true, cell: (one) => when(one.created_at) },
    { name: "Used by", words: true, cell: (one) => (one.used_by.length ? [one.used_by.slice(0, 5).map((job) => h("span", { class: "block" }, h("a", { href: runAddress(job.id) }, job.fine_tuned_model ?? job.id.slice(-8)), " ", statusTag(job.status))), one.used_by.length > 5 || one.used_by_more ? h("span", { class: "muted small" }, "and more") : null] : h("span", { class: "muted" }, "nothing yet")) },
    { name: "sha256", cell: (one) => h("span", { class: "mono small", title: one.sha256 }, one.sha256.slice(0, 10)) },
  ], versions);
}

function rename() {
  const input = h("input", { value: set.name, maxlength: "100", required: true });
  const { close } = dialog("Rename", h("form", { onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => {
      set = await post(path`/luthier/v1/datasets/${id}`, { name: input.value.trim() });
      close();
      draw();
    });
  } }, field("Name", input), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Rename"))));
  input.select();
}

async function erase(button) {
  if (!await confirmed("Delete this data set?", `${set.name} goes with all of its versions. Models that learned from it stay.`, "Delete it")) return;
  await during(button, async () => {
    await remove(path`/luthier/v1/datasets/${id}`);
    location.assign("/data");
  });
}

begin();
