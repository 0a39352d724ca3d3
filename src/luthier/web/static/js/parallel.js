// Parallel coordinates drawn in SVG: an axis for each setting and one for the result, a line for each trial.

import { h, svg } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 300;
const TOP = 46;
const BOTTOM = 26;
const SIDE = 60;
const MOST = 1000;
const LEAST = 0.08; // of an axis, between two marks

/** The marks from below, without those that would stand on another: the ends stay. */
function apart(marks) {
  const kept = [];
  for (const [i, mark] of marks.entries()) {
    const isLast = i === marks.length - 1;
    while (isLast && kept.length > 1 && mark[1] - kept.at(-1)[1] < LEAST) kept.pop();
    if (isLast || !kept.length || mark[1] - kept.at(-1)[1] >= LEAST) kept.push(mark);
  }
  return kept;
}

/** The place of a value on an axis, from 0 (below) to 1. */
function scaleOf(axis, values) {
  const words = values.some((value) => typeof value !== "number");
  if (words) {
    const names = [...new Set(values.map((value) => String(value ?? "none")))].sort();
    return { at: (value) => (names.length === 1 ? 0.5 : names.indexOf(String(value ?? "none")) / (names.length - 1)), marks: names.slice(0, 8).map((name) => [name, names.length === 1 ? 0.5 : names.indexOf(name) / (names.length - 1)]) };
  }
  const turned = axis.log ? values.map(Math.log10) : values;
  const low = Math.min(...turned);
  const high = Math.max(...turned);
  const at = (value) => (high > low ? ((axis.log ? Math.log10(value) : value) - low) / (high - low) : 0.5);
  const back = (share) => (axis.log ? 10 ** (low + share * (high - low)) : low + share * (high - low));
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  return { at, marks: distinct.length <= 6 ? apart(distinct.map((value) => [number(value, 3), at(value)])) : [0, 0.5, 1].map((share) => [number(back(share), 3), share]) };
}

/**
 * The picture. axes: [{label, log}] with the result last; rows: [{values: [...], title, best, result}] where result is 0
 * (worst) to 1 (best) and decides the colour.
 */
export function parallel(title, axes, rows) {
  const shown = rows.slice(-MOST).sort((a, b) => a.result - b.result);
  const scales = axes.map((axis, i) => scaleOf(axis, shown.map((row) => row.values[i])));
  const x = (i) => SIDE + (WIDTH - 2 * SIDE) * (axes.length === 1 ? 0.5 : i / (axes.length - 1));
  const y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const lines = shown.map((row) => svg("polyline", {
    points: row.values.map((value, i) => `${x(i).toFixed(1)},${y(scales[i].at(value)).toFixed(1)}`).join(" "),
    class: `trial-line${row.best ? " best" : ""}`, opacity: row.best ? 1 : (0.15 + 0.65 * row.result).toFixed(2),
  }, svg("title", {}, row.title)));
  const drawn = axes.map((axis, i) => svg("g", {}, svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1), class: "axis" }),
    svg("text", { x: x(i), y: TOP - 24, "text-anchor": i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle", class: "axis-name" }, axis.label),
    scales[i].marks.map(([words, share]) => svg("text", { x: x(i) + 7, y: y(share) + 4, class: "axis-mark" }, String(words).slice(0, 22)))));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "parallel", role: "img", "aria-label": `${title}: ${rows.length} trials` }, lines, drawn);
  return h("figure", { class: "chart" }, h("figcaption", null, title), h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": title }, picture),
    rows.length > MOST ? h("p", { class: "muted small" }, `The newest ${MOST} trials.`) : null);
}
