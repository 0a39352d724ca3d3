// Data sets as several pages use them: asked for, made from a file or an example, and their versions.

import { get, path, post, query, upload } from "./api.js";

export const listDatasets = (after, limit = 50, q) => get(`/luthier/v1/datasets${query({ after, limit, q })}`);
export const versionsOf = async (id) => (await get(path`/luthier/v1/datasets/${id}/versions`)).data;
export const versionNumber = (version) => version.version ?? version.number;

/** The newest version of a data set. */
export async function newest(id) {
  const all = await versionsOf(id);
  return all.reduce((best, one) => (!best || versionNumber(one) > versionNumber(best) ? one : best), null);
}

/** A name that is free: "support", else "support 2", ... */
export function freeName(wanted, taken) {
  const names = new Set(taken);
  if (!names.has(wanted)) return wanted;
  let i = 2;
  while (names.has(`${wanted} ${i}`)) i += 1;
  return `${wanted} ${i}`;
}

const plainName = (filename) => filename.replace(/\.(jsonl|json|csv|tsv|parquet|txt|conll)(\.(gz|zst))?$/i, "").slice(0, 60) || "data";

/** Send a file and make a data set of it. */
export async function fromFile(file, onProgress, signal) {
  const stored = await upload(file, "fine-tune", onProgress, signal);
  return named(plainName(file.name), { file_id: stored.id });
}

/** Make a data set called `name`, or with a number behind it where that is taken. */
export async function named(name, source) {
  for (let i = 1; ; i += 1) {
    try {
      return await post("/luthier/v1/datasets", { name: i === 1 ? name : `${name} ${i}`, ...source });
    } catch (error) {
      if (error.status !== 409 || i > 20) throw error;
    }
  }
}

/** The data set of a shipped example: the one that is there, or a new one. */
export async function fromExample(example) {
  const name = example.title.split(":")[0];
  const there = (await listDatasets(null, 100)).data.find((one) => one.name === name);
  return there ?? named(name, { example: example.name });
}
