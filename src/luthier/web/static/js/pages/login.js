import { ask } from "../api.js";
import { byId } from "../dom.js";

const form = byId("login");
const input = byId("key");
const wrong = byId("key-wrong");

function target() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = input.value.trim();
  wrong.textContent = "";
  input.removeAttribute("aria-invalid");
  const button = form.querySelector("button");
  button.classList.add("busy");
  try {
    if (!key) throw new Error("Paste a key: it begins with lu-.");
    await ask("POST", "/session", { key }, { quiet: true });
    location.replace(target());
  } catch (error) {
    wrong.textContent = error.status === 401 ? "This key is not known here, or it was revoked or has expired." : error.message;
    input.setAttribute("aria-invalid", "true");
    input.focus();
    input.select();
  } finally {
    button.classList.remove("busy");
  }
});
input.focus();
