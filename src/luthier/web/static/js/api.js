// The public HTTP API, asked with the session's cookie. An error is an ApiError with the server's own words.

export class ApiError extends Error {
  constructor(status, { message, code, param, type } = {}) {
    super(message || `The server answered with status ${status}.`);
    Object.assign(this, { status, code: code ?? null, param: param ?? null, type: type ?? null });
  }
}

const csrf = document.querySelector('meta[name="csrf"]')?.content;

/** The role of who looks: admin, write or read. */
export const role = document.querySelector('meta[name="role"]')?.content ?? "";

/** Ask; gives the Response. `body` is sent as JSON, or as it is (FormData). */
export async function ask(method, path, body, { signal, headers, quiet } = {}) {
  const sent = { ...headers };
  if (csrf && method !== "GET") sent["X-Luthier-CSRF"] = csrf;
  let content = body;
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    sent["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, { method, headers: sent, body: content, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server does not answer. Is it running?", code: "unreachable" });
  }
  if (answer.ok) return answer;
  const error = new ApiError(answer.status, await words(answer));
  if (answer.status === 401 && !quiet) toLogin();
  throw error;
}

async function words(answer) {
  try {
    return (await answer.json()).error ?? {};
  } catch {
    return {};
  }
}

/** Ask, and read the answer's JSON. */
export async function json(method, path, body, options) {
  const answer = await ask(method, path, body, options);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, options) => json("GET", path, undefined, options);
export const post = (path, body = {}, options) => json("POST", path, body, options);
export const remove = (path, options) => json("DELETE", path, undefined, options);

/** GET that gives null where there is no such thing (404). */
export async function maybe(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** A path with its parts encoded: path`/luthier/v1/jobs/${id}`. */
export function path(strings, ...values) {
  return strings.reduce((all, part, i) => all + part + (i < values.length ? encodeURIComponent(values[i]) : ""), "");
}

/** `?a=1&b=2` of what is neither undefined, null nor "". */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Send a file with its progress: `onProgress(share)`. fetch cannot tell how much it has sent. */
export function upload(file, purpose, onProgress = () => {}, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    if (csrf) request.setRequestHeader("X-Luthier-CSRF", csrf);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, { message: "The file could not be sent: the connection broke." }));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* told by the status */ }
      if (request.status < 300) resolve(answer);
      else {
        if (request.status === 401) toLogin();
        reject(new ApiError(request.status, answer.error));
      }
    };
    signal?.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("purpose", purpose);
    form.append("file", file, file.name);
    request.send(form);
  });
}

function toLogin() {
  const here = location.pathname + location.search;
  if (!location.pathname.startsWith("/login")) location.assign(`/login?next=${encodeURIComponent(here)}`);
}
