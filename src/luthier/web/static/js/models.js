// Which models there are, and what each does: names say their base, the catalogue says what a base does.

import { get, maybe } from "./api.js";

let known = null;

/** {base: [], tuned: [], checkpoints: [], endpoints: []} of {id, kind, base}. Asked for once. */
export function allModels() {
  known ??= ask().catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

async function ask() {
  const [models, catalogue, endpoints] = await Promise.all([get("/v1/models"), maybe("/luthier/v1/catalogue"), get("/luthier/v1/endpoints")]);
  const kinds = new Map((catalogue?.data ?? []).map((one) => [one.name ?? one.id, one.kind]));
  const kindOf = (base) => kinds.get(base) ?? (base === "minilm" ? "encoder" : "generative");
  const found = { base: [], tuned: [], checkpoints: [], endpoints: [] };
  const byName = new Map();
  for (const { id, created } of models.data) {
    const base = id.startsWith("ft:") ? id.split(":")[1] : id;
    const one = { id, base, kind: id.startsWith("assistant:") ? "generative" : kindOf(base), created };
    byName.set(id, one);
    if (!id.startsWith("ft:")) found.base.push(one);
    else if (id.includes(":ckpt-step-")) found.checkpoints.push(one);
    else found.tuned.push(one);
  }
  for (const one of endpoints.data) if (one.state === "running") found.endpoints.push({ ...byName.get(one.model), id: one.name, kind: byName.get(one.model)?.kind ?? "generative" });
  return found;
}

/** A tuned model's name in short: its suffix and the end of its id. */
export function shortName(id) {
  if (!id.startsWith("ft:")) return id;
  const [, base, , suffix, rest, ...more] = id.split(":");
  const step = id.match(/ckpt-step-(\d+)/)?.[1];
  return `${suffix || base} ${(rest ?? "").slice(0, 6)}${step ? ` at step ${step}` : ""}`.trim() || more.join(":");
}
