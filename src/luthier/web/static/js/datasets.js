// Data sets as several pages use them: asked for, made from a file or an example, and their versions.

import { get, path, post, query, upload } from "./api.js";

export const listDatasets = (after, limit = 50) => get(`/luthier/v1/datasets${query({ after, limit })}`);
export const versionsOf = async (id) => (await get(path`/luthier/v1/datasets/${id}/versions?limit=50`)).data;

/** Send a file and make a data set of it, called as the file is. */
export async function fromFile(file, onProgress, signal) {
  const stored = await upload(file, "fine-tune", onProgress, signal);
  return post("/luthier/v1/datasets", { file_id: stored.id });
}

/** The data set of a shipped example: the one that is there, or a new one. */
export async function fromExample(example) {
  const there = (await listDatasets(null, 100)).data.find((one) => one.latest.version === 1 && one.latest.origin.kind === "example" && one.latest.origin.example === example.name);
  return there ?? post("/luthier/v1/datasets", { example: example.name });
}

const CHECK_SECONDS = 1.2;

/** The check of a version, once it is done; throws what made it fail. */
export async function checked(id, version, signal) {
  for (;;) {
    const found = await get(path`/luthier/v1/datasets/${id}/versions/${version}/check`, { signal });
    if (found.status === "done") return found.report;
    if (found.status === "failed") throw Object.assign(new Error(found.error?.message ?? "The check failed."), { status: 400, code: found.error?.code });
    await new Promise((resolve) => setTimeout(resolve, 1000 * CHECK_SECONDS));
  }
}
