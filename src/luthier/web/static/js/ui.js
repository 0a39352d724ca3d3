// Parts that every page uses: the navigation, states (loading, empty, failed), tags, notes, dialogs, tabs.

import { add, byId, fill, h } from "./dom.js";
import { ask } from "./api.js";
import { ago, exact } from "./format.js";

const WORDS = {
  validating_files: ["Checking the data", "even"], queued: ["Waiting", "even"], running: ["Running", "live"],
  paused: ["Paused", "warn"], succeeded: ["Succeeded", "good"], failed: ["Failed", "wrong"], cancelled: ["Cancelled", "even"],
};

/** A job's status as a tag. */
export function statusTag(status) {
  const [words, look] = WORDS[status] ?? [status, "even"];
  return tag(words, look);
}

/** A word in a coloured pill; look: good, wrong, warn, live or even. */
export const tag = (words, look = "even") => h("span", { class: `tag ${look}` }, words);

/** When something was, with the exact time as its title. */
export const when = (stamp) => (stamp ? h("time", { datetime: new Date(stamp * 1000).toISOString(), title: exact(stamp) }, ago(stamp)) : "–");

/** Grey lines where something will be. */
export function loading(rows = 3) {
  return h("div", { class: "skeleton", role: "status", "aria-label": "Loading" }, Array.from({ length: rows }, () => h("i")));
}

/** What to say and do where there is nothing yet. */
export function empty(title, words, ...actions) {
  return h("div", { class: "empty" }, h("h3", null, title), h("p", null, words), actions.length ? h("p", { class: "actions" }, actions) : null);
}

/** An error in place of what could not be shown; `again` tries once more. */
export function failed(error, again) {
  return h("div", { class: "notice wrong", role: "alert" }, h("p", null, error.message),
    again ? h("button", { type: "button", class: "button", onclick: again }, "Try again") : null);
}

export const notice = (words, look = "") => h("div", { class: `notice ${look}` }, words);

/** Fill `element` with what `work` gives; shows that it loads, and what went wrong. */
export async function show(element, work, rows = 3) {
  if (!element.childElementCount) {
    fill(element, loading(rows));
    element.setAttribute("aria-busy", "true");
  }
  try {
    fill(element, await work());
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!error.status && error.code !== "unreachable") console.error(error);
    fill(element, failed(error, () => show(element, work, rows)));
  }
}

/** Say something in the corner; screen readers hear it. */
export function toast(words, look = "") {
  const box = h("div", { class: `toast ${look}` }, words,
    h("button", { type: "button", class: "quiet", "aria-label": "Close this message", onclick: () => box.remove() }, "×"));
  byId("toasts").append(box);
  if (look !== "wrong") setTimeout(() => box.remove(), 6000);
}

/** Do `work` while `button` waits; an error becomes a toast, and undefined is given. */
export async function during(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return undefined;
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  try {
    return await work();
  } catch (error) {
    if (!error.status && error.code !== "unreachable") console.error(error);
    toast(error.message, "wrong");
    return undefined;
  } finally {
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
  }
}

/** Ask before something that cannot be undone; gives whether it shall be done. */
export function confirmed(title, words, action, look = "danger") {
  return new Promise((resolve) => {
    const box = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title), h("p", null, words),
      h("form", { method: "dialog", class: "actions end" },
        h("button", { class: "button", value: "no" }, "Keep it"),
        h("button", { class: `button ${look}`, value: "yes" }, action)));
    box.addEventListener("close", () => {
      resolve(box.returnValue === "yes");
      box.remove();
    });
    document.body.append(box);
    box.showModal();
  });
}

/** A dialog with anything in it; gives {box, close}. */
export function dialog(title, ...children) {
  const box = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
    h("div", { class: "dialog-head" }, h("h2", { id: "dialog-title" }, title),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => box.close() }, "×")), children);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return { box, close: () => box.close() };
}

/** A button that copies `text()`. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "button small" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => { button.textContent = label; }, 1800);
  });
  return button;
}

/** A piece of code with a button that copies it. */
export function code(text, label) {
  return h("div", { class: "code" }, h("pre", { tabindex: "0", role: "group", "aria-label": label ?? "Code" }, h("code", null, text)), copyButton(() => text));
}

/** Tabs: `parts` are [name, element]; arrow keys move. `onPick` hears the number. */
export function tabs(label, parts, { picked = 0, onPick = () => {} } = {}) {
  const base = `tabs-${Math.random().toString(36).slice(2, 8)}`;
  const heads = parts.map(([name], i) => h("button", {
    type: "button", role: "tab", id: `${base}-${i}`, "aria-controls": `${base}-panel-${i}`, onclick: () => pick(i),
  }, name));
  const panels = parts.map(([name, content], i) => h("div", { data: { name }, role: "tabpanel", id: `${base}-panel-${i}`, "aria-labelledby": `${base}-${i}`, tabindex: "0" }, content));
  function pick(number, focus = false) {
    heads.forEach((head, i) => {
      head.setAttribute("aria-selected", String(i === number));
      head.tabIndex = i === number ? 0 : -1;
      panels[i].hidden = i !== number;
    });
    if (focus) heads[number].focus();
    onPick(number);
  }
  const list = h("div", { role: "tablist", "aria-label": label, class: "tablist", onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pick((heads.indexOf(document.activeElement) + step + heads.length) % heads.length, true);
  } }, heads);
  pick(picked);
  return h("div", { class: "tabs" }, list, panels);
}

/** A field with its label: `field("Name", input, "help")`. */
let fields = 0;
export function field(label, control, help) {
  control.id ||= `field-${++fields}`;
  if (help) control.setAttribute("aria-describedby", `${control.id}-help`);
  return h("div", { class: "field" }, h("label", { htmlFor: control.id }, label), control,
    help ? h("p", { class: "muted small", id: `${control.id}-help` }, help) : null);
}

/** A <select> of [value, words] pairs; `label` names it where no field does. */
export const select = (options, value, onchange, label) =>
  h("select", { "aria-label": label, onchange: onchange && ((event) => onchange(event.target.value)) },
    options.map(([one, words]) => h("option", { value: one, selected: one === value }, words)));

/** Facts as a description list: [[name, value or element], ...]; empty values are left out. */
export const facts = (pairs) => h("dl", null, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));

/** A bar for a share of 0 to 1. */
export const bar = (share, look = "") => h("span", { class: `meter ${look}`, "aria-hidden": "true", vars: { share: Math.max(0, Math.min(1, share || 0)) } });

/** A progress bar that screen readers can read. */
export function progress(share, label) {
  const known = typeof share === "number" && Number.isFinite(share);
  return h("div", { class: `progress${known ? "" : " unknown"}`, role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": known ? Math.round(100 * share) : null, vars: { share: known ? share : 0 } }, h("i"));
}

export const list = (items) => add(h("ul", { class: "plain" }), items.map((item) => h("li", null, item)));

// The shell: menu on narrow screens, theme, log out.
const menu = document.querySelector(".menu-button");
menu?.addEventListener("click", () => {
  const open = menu.getAttribute("aria-expanded") !== "true";
  menu.setAttribute("aria-expanded", String(open));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu?.getAttribute("aria-expanded") === "true") {
    menu.setAttribute("aria-expanded", "false");
    menu.focus();
  }
});
const theme = byId("theme");
if (theme) {
  theme.value = document.documentElement.dataset.theme ?? "";
  theme.addEventListener("change", () => {
    if (theme.value) document.documentElement.dataset.theme = theme.value;
    else delete document.documentElement.dataset.theme;
    try { localStorage.setItem("luthier.theme", theme.value); } catch { /* storage is switched off */ }
    document.dispatchEvent(new Event("luthier:theme"));
  });
}
byId("logout")?.addEventListener("click", async () => {
  await ask("DELETE", "/session", undefined, { quiet: true }).catch(() => {});
  location.assign("/login");
});
