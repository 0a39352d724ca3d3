// Makes elements. Everything that is shown goes in as text: there is no way here to write HTML.

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "open", "indeterminate", "multiple", "readOnly", "tabIndex", "htmlFor", "textContent", "required"]);
const SAFE_ADDRESS = /^(\/(?!\/)|#|\?)/;

/** An element: `h("a", {href: "/runs", class: "x", onclick: f}, "text", child, [children], null)`. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  add(element, children);
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false && !PROPERTIES.has(name)) return;
  if (name.startsWith("on")) {
    if (typeof value !== "function") throw new TypeError(`${name} must be a function`);
    element.addEventListener(name.slice(2), value);
  } else if (name === "class") element.className = value;
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "vars") for (const [key, one] of Object.entries(value)) element.style.setProperty(`--${key}`, one);
  else if (PROPERTIES.has(name)) element[name] = value;
  else if (name === "href" || name === "src" || name === "action") element.setAttribute(name, address(value));
  else if (name === "style" || name === "srcdoc") throw new TypeError(`${name} is not set here`);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** An address of this server, or "#": what came with data leads nowhere else. */
export function address(value) {
  return SAFE_ADDRESS.test(String(value)) ? String(value) : "#";
}

/** A link to another server, whose address is shown as it is; a text where it is no address of the web. For what the server's
 * own operator set up, never for what came with data. */
export function external(value) {
  let url = null;
  try { url = new URL(String(value)); } catch { /* no address */ }
  if (!url || !["http:", "https:"].includes(url.protocol)) return h("span", { class: "mono small" }, value);
  const link = h("a", { rel: "noopener noreferrer", target: "_blank", class: "mono small" }, value);
  link.setAttribute("href", url.href);
  return link;
}

/** Append texts, elements and lists of them; null and false are left out. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const CONTROLS = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
const sign = (control) => [control.tagName, control.id || control.getAttribute("href") || control.getAttribute("aria-label") || control.textContent].join(" ");

/** Put `children` in the place of what `element` holds. Who is in there by keys stays at the same control, else at the first. */
export function fill(element, ...children) {
  const at = document.activeElement;
  const held = at !== element && element.contains(at) ? sign(at) : null;
  element.replaceChildren();
  element.removeAttribute("aria-busy");
  add(element, ...children);
  if (held !== null && !element.contains(document.activeElement)) {
    const controls = [...element.querySelectorAll(CONTROLS)];
    (controls.find((one) => sign(one) === held) ?? controls[0])?.focus({ preventScroll: true });
  }
  return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (/^(on|style|href|xlink)/i.test(name)) throw new TypeError(`${name} is not set here`);
    element.setAttribute(name, String(value));
  }
  return add(element, ...children);
}

/** Calls `work` at most once in `milliseconds`, with the last arguments. */
export function debounced(work, milliseconds = 250) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), milliseconds);
  };
}
