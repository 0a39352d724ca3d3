// Which models there are, and what each does: names say their base, the catalogue says what a base does.

import { get, maybe } from "./api.js";

let known = null;

/** {base: [], tuned: [], checkpoints: []} of {id, kind, base}. Asked for once. */
export function allModels() {
  known ??= ask().catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

async function ask() {
  const [models, catalogue] = await Promise.all([get("/v1/models"), maybe("/luthier/v1/catalogue")]);
  const kinds = new Map((catalogue?.data ?? []).map((one) => [one.name, one.kind]));
  const kindOf = (base) => kinds.get(base) ?? (base === "minilm" ? "encoder" : "generative");
  const found = { base: [], tuned: [], checkpoints: [] };
  for (const { id, created } of models.data) {
    const base = id.startsWith("ft:") ? id.split(":")[1] : id;
    const one = { id, base, kind: id.startsWith("assistant:") ? "generative" : kindOf(base), created };
    if (!id.startsWith("ft:")) found.base.push(one);
    else if (id.includes(":ckpt-step-")) found.checkpoints.push(one);
    else found.tuned.push(one);
  }
  return found;
}

/** The running endpoints like models. An engine that is just starting makes this slow, so nothing should wait for it. */
export async function runningEndpoints() {
  const [models, endpoints] = await Promise.all([allModels(), get("/luthier/v1/endpoints")]);
  const every = [...models.base, ...models.tuned, ...models.checkpoints];
  return endpoints.data.filter((one) => one.state === "running").map((one) => {
    const model = every.find((other) => other.id === one.model);
    return { ...model, id: one.name, kind: model?.kind ?? "generative" };
  });
}

/** A tuned model's name in short: its suffix and the end of its id. */
export function shortName(id) {
  if (!id.startsWith("ft:")) return id;
  const [, base, , suffix, rest, ...more] = id.split(":");
  const step = id.match(/ckpt-step-(\d+)/)?.[1];
  return `${suffix || base} ${(rest ?? "").slice(0, 6)}${step ? ` at step ${step}` : ""}`.trim() || more.join(":");
}
