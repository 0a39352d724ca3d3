// Server-sent events by fetch: reading them, and following a job's with reconnecting.

import { ask } from "./api.js";

/** The events of an answer: {id, event, data} each. Comments are passed over. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let one = { id: null, event: "message", data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (one.data.length) yield { id: one.id, event: one.event, data: one.data.join("\n") };
          one = { id: one.id, event: "message", data: [] };
        } else if (!line.startsWith(":")) {
          const colon = line.indexOf(":");
          const name = colon < 0 ? line : line.slice(0, colon);
          const rest = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
          if (name === "data") one.data.push(rest);
          else if (name === "id") one.id = rest;
          else if (name === "event") one.event = rest;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Ask for an answer that is streamed, OpenAI's way; yields the JSON of each event until [DONE]. */
export async function* streamed(path, body, signal) {
  const answer = await ask("POST", path, body, { signal });
  for await (const { data } of events(answer)) {
    if (data === "[DONE]") return;
    const value = JSON.parse(data);
    if (value.error) throw Object.assign(new Error(value.error.message), value.error);
    yield value;
  }
}

const LONGEST_PAUSE = 10_000;

/**
 * Follow a stream of events for as long as it lasts, and begin again after the last one where it breaks.
 * A page that nobody sees holds no connection: browsers allow six to one server. Gives a function that stops.
 * `onState` hears "open", "waiting" (it broke, and is tried again) or "over".
 */
export function follow(path, { onEvent, onState = () => {}, after = null }) {
  let last = after;
  let stopped = false;
  let over = false;
  let controller = null;
  let pause = 500;

  async function run() {
    if (stopped || over || controller || document.hidden) return;
    controller = new AbortController();
    const mine = controller;
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const answer = await ask("GET", path, undefined, { signal: mine.signal, headers });
      onState("open");
      pause = 500;
      for await (const { id, data } of events(answer)) {
        if (data === "[DONE]") {
          over = true;
          onState("over");
          return;
        }
        if (id) last = id;
        const value = JSON.parse(data);
        if (value.error) throw new Error(value.error.message);
        onEvent(value);
      }
    } catch (error) {
      if (error.status === 404 || error.status === 403) over = true;
      if (mine.signal.aborted || stopped || over) return;
    } finally {
      if (controller === mine) controller = null;
    }
    onState("waiting");
    setTimeout(run, pause);
    pause = Math.min(LONGEST_PAUSE, pause * 2);
  }

  function seen() {
    if (document.hidden) {
      controller?.abort();
      controller = null;
    } else run();
  }

  document.addEventListener("visibilitychange", seen);
  run();
  return () => {
    stopped = true;
    document.removeEventListener("visibilitychange", seen);
    controller?.abort();
  };
}

/** Call `work` now and every `seconds` while the page is seen, one at a time; stops when it gives false. */
export function every(seconds, work) {
  let timer = null;
  let busy = false;
  let stopped = false;
  async function run() {
    clearTimeout(timer);
    if (busy || stopped || document.hidden) return;
    busy = true;
    try {
      if (await work() === false) stopped = true;
    } catch (error) {
      console.debug(error); // the next turn may succeed; what the first turn could not do, its page has said
    } finally {
      busy = false;
      if (!stopped) timer = setTimeout(run, seconds * 1000);
    }
  }
  document.addEventListener("visibilitychange", run);
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", run);
  };
}
