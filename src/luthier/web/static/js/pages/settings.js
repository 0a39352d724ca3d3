// Keys, limits, storage and what this server is.

import { get, path, post, remove, role } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { bytes, count, duration } from "../format.js";
import { table } from "../table.js";
import { bar, code, confirmed, copyButton, dialog, during, facts, field, select, show, tabs, tag, when } from "../ui.js";

const ROLES = [["read", "Read: look at everything, change nothing"], ["write", "Write: train, ask and change"], ["admin", "Admin: also look after keys"]];
const LIVES = [["", "Never"], ["86400", "In a day"], ["2592000", "In 30 days"], ["31536000", "In a year"]];
let mine = null;

async function keys() {
  mine ??= await get("/session");
  if (role !== "admin") return h("p", { class: "muted" }, `You use a key that may ${role === "read" ? "read" : "read and write"}. Keys are looked after with an admin key.`);
  byId("new-key").hidden = false;
  const all = (await get("/luthier/v1/keys")).data;
  return table("Keys", [
    { name: "Name", head: true, cell: (key) => [key.name, key.id === mine.key_id ? [" ", tag("yours", "live")] : null] },
    { name: "May", cell: (key) => key.role },
    { name: "Made", number: true, cell: (key) => when(key.created_at) },
    { name: "Ends", number: true, cell: (key) => (key.revoked_at ? tag("revoked", "even") : key.expires_at ? key.expires_at * 1000 < Date.now() ? tag("expired", "even") : when2(key.expires_at) : "never") },
    { name: h("span", { class: "unseen" }, "End it"), number: true, cell: (key) => (key.revoked_at ? null : h("button", { type: "button", class: "button small danger", onclick: (event) => revoke(key, event.currentTarget) }, "Revoke", h("span", { class: "unseen" }, ` ${key.name}`))) },
  ], [...all].sort((a, b) => (a.revoked_at ? 1 : 0) - (b.revoked_at ? 1 : 0) || b.created_at - a.created_at).slice(0, 200));
}

const when2 = (stamp) => new Date(stamp * 1000).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });

async function revoke(key, button) {
  const own = key.id === mine.key_id;
  if (!await confirmed("Revoke this key?", `Programs that use ${key.name} are refused from now on.${own ? " It is the key you logged in with: you are logged out." : ""}`, "Revoke it")) return;
  await during(button, async () => {
    await remove(path`/luthier/v1/keys/${key.id}`);
    if (own) location.assign("/login");
    else {
      if (byId("fresh").dataset.key === key.id) fill(byId("fresh"));
      await reload();
    }
  });
}

const reload = async () => fill(byId("keys"), await keys());

byId("new-key").addEventListener("click", () => {
  const name = h("input", { maxlength: "64", required: true, autocomplete: "off", placeholder: "such as laptop" });
  const may = select(ROLES, "write");
  const life = select(LIVES, "");
  const { close } = dialog("Make a key", h("form", { onsubmit: (event) => {
    event.preventDefault();
    during(event.submitter, async () => {
      const made = await post("/luthier/v1/keys", { name: name.value.trim(), role: may.value, ...(life.value ? { expires_in: Number(life.value) } : {}) });
      close();
      fill(byId("fresh"), h("div", { class: "notice good", role: "status" }, h("p", null, h("strong", null, made.name), " was made. Its secret is shown now and never again:"), h("p", { class: "actions" }, h("code", null, made.secret), copyButton(made.secret)))).dataset.key = made.id;
      await reload();
    });
  } }, field("Name", name), field("It may", may), field("It ends", life), h("div", { class: "actions end" }, h("button", { class: "button primary" }, "Make it"))));
  name.focus();
});

function use() {
  const base = location.origin;
  return tabs("Programs", [
    ["Shell", code(`export OPENAI_BASE_URL=${base}/v1\nexport OPENAI_API_KEY=lu-...`, "Shell")],
    ["Python", code(`from openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1", api_key="lu-...")\nfor job in client.fine_tuning.jobs.list():\n    print(job.id, job.status, job.fine_tuned_model)`, "Python")],
    ["curl", code(`curl ${base}/luthier/v1/jobs -H "Authorization: Bearer $OPENAI_API_KEY"`, "curl")],
  ]);
}

const system = get("/luthier/v1/system");
system.catch(() => {});
show(byId("keys"), keys);
fill(byId("use"), use());
show(byId("storage"), async () => {
  const { limits, disk, sources } = await system;
  return facts([
    ["Files and exports", [bar(limits.used_project_bytes / limits.max_project_bytes, "soft"), h("span", { class: "small muted block" }, `${bytes(limits.used_project_bytes)} of ${bytes(limits.max_project_bytes)}${limits.exported_project_bytes ? `, ${bytes(limits.exported_project_bytes)} in exports` : ""}`)]],
    ["Disk", disk.total_bytes ? `${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}` : "an object store"],
    ["Largest file", bytes(limits.max_file_bytes)], ["Runs that may wait", count(limits.max_queued_jobs)], ["Requests a second", count(limits.requests_per_second)],
    ["Paths as data", sources.paths ? sources.folders.join(", ") || "allowed" : "off"], ["Addresses as data", sources.urls ? "allowed" : "off"],
  ]);
}, 5);
show(byId("about"), async () => {
  const one = await system;
  return facts([
    ["Version", `Luthier ${one.version}`], ["Python", one.python], ["Machine", `${one.machine}, ${one.processors} processors`],
    ["Trains on", one.devices.map((device) => device.title).join(", ")], ["Database", one.parts.database === "sqlite" ? "SQLite" : "PostgreSQL"], ["Artefacts", one.parts.artefacts],
    ["Home", one.home ? h("span", { class: "mono small" }, one.home) : ""], ["Engine", `${one.parts.engine}, ${count(one.parts.engine_requests)} answers${one.parts.engine_restarts ? `, ${one.parts.engine_restarts} restarts` : ""}`],
    ["Up for", duration(one.uptime_seconds)], ["Project", (mine ??= await get("/session")).project_name], ["Licence", "Apache-2.0"],
  ]);
}, 5);
