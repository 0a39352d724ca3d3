// Charts by Plotly, which is asked for only when the first chart comes into view. Small bars need no Plotly.

import { fill, h } from "./dom.js";
import { number, percent } from "./format.js";

const source = document.querySelector('meta[name="plotly"]');
const SERIES = ["--series-0", "--series-1", "--series-2", "--series-3", "--series-4", "--series-5"];
const MOST_ROWS = 200;
let loaded = null;

/** Plotly, loaded once. Its maps would write styles into the page: elements of these ids keep them from it. */
export function plotly() {
  loaded ??= new Promise((resolve, reject) => {
    if (!source) {
      reject(new Error("Charts need Plotly on the server: pip install 'luthier[report]'."));
      return;
    }
    for (const id of (source.dataset.styles ?? "").split(" ").filter(Boolean)) document.head.append(h("meta", { id }));
    const script = document.createElement("script");
    script.src = source.content;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loaded = null;
      reject(new Error("The script for charts could not be loaded. Load the page again."));
    };
    document.head.append(script);
  });
  return loaded;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The colour of the series with this number. */
export const seriesColour = (i) => colour(SERIES[i % SERIES.length]);

function layout(options, many) {
  const shares = typeof options.percent === "function" ? options.percent() : options.percent;
  const hair = colour("--hair");
  const axis = { gridcolor: hair, linecolor: hair, zerolinecolor: hair, tickcolor: hair, automargin: true, fixedrange: false };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12.5, color: colour("--muted") },
    margin: { l: 44, r: 12, t: 8, b: options.small ? 24 : 40 }, height: options.height ?? 300, showlegend: options.legend ?? many, hovermode: options.hover ?? "x unified",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, uirevision: "kept",
    hoverlabel: { bgcolor: colour("--paper"), bordercolor: hair, font: { color: colour("--ink") } },
    xaxis: { ...axis, title: { text: options.small ? "" : options.x ?? "", standoff: 8 }, showgrid: false, nticks: options.small ? 5 : 0, ...(options.xTick ? { tickformat: options.xTick } : {}) },
    yaxis: { ...axis, title: { text: options.y ?? "", standoff: 8 }, type: options.log ? "log" : "linear", tickformat: shares ? ".0%" : "", exponentformat: "e", nticks: options.small ? 5 : 0, rangemode: options.fromZero ? "tozero" : shares ? "nonnegative" : "normal", ...(shares ? { autorangeoptions: { clipmax: 1.03 } } : {}) },
    ...options.layout,
  };
}

/** Plotly reads a few tags and links in texts; what came with data is shown as it is. */
const asText = (text) => (typeof text === "string" ? text.replace(/&/g, "&amp;").replace(/</g, "&lt;").slice(0, 60) : text);

/** A chart in a sentence for who does not see it; the values stand in the table below it. */
function described(title, lines) {
  const said = lines.filter((one) => Array.isArray(one.y)).map((one) => [one.name, one.y.filter((y) => typeof y === "number")]).filter(([, y]) => y.length)
    .map(([name, y]) => `${name || "values"} ${y.length === 1 ? number(y[0]) : `from ${number(y[0])} to ${number(y.at(-1))} in ${y.length} points`}`);
  return `${title}: ${said.join(", ") || "nothing yet"}`;
}

const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };

/**
 * A chart in a figure. `series()` gives Plotly's traces, without colours of their own: they are taken in turn.
 * Gives {figure, update}: call update() when the data changed; it draws at most twice a second.
 */
export function chart(title, series, options = {}) {
  const place = h("div", { class: "plot", role: "img", "aria-label": title, vars: { height: `${options.height ?? 300}px` } }, h("p", { class: "muted small" }, "The chart is loading."));
  const values = h("details", { class: "values" }, h("summary", null, "Values"));
  values.addEventListener("toggle", () => values.open && fillValues());
  const figure = h("figure", { class: "chart" }, options.bare ? null : h("figcaption", null, title), place, options.bare ? null : values);
  let seen = false;
  let cleared = false;
  let drawn = false;
  let pending = null;

  function traces() {
    return series().map((one, i) => {
      const own = one.colour ?? seriesColour(one.slot ?? i);
      const { colour: _, slot: __, ...trace } = { ...one, name: asText(one.name), ...(one.text ? { text: one.text.map(asText) } : {}), ...(one.hovertext ? { hovertext: one.hovertext.map(asText) } : {}) };
      if (trace.type === "parcoords" || trace.type === "bar" && trace.marker) return trace;
      return { type: "scatter", mode: "lines", cliponaxis: false, ...trace, line: { color: own, width: 2, ...trace.line }, marker: { color: own, size: 7, ...trace.marker } };
    });
  }

  async function draw() {
    pending = null;
    if (!seen || !figure.isConnected) return;
    try {
      if (!drawn && series().every((one) => Array.isArray(one.y) && !one.y.some((y) => y !== null && y !== undefined))) {
        fill(place, h("p", { class: "muted small" }, "Nothing to show yet."));
        return;
      }
      const Plotly = await plotly();
      if (!cleared) place.replaceChildren(); // once: what comes while Plotly draws the first time must not wipe it away
      cleared = true;
      const lines = traces();
      await Plotly.react(place, lines, layout(options, lines.length > 1), CONFIG);
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // measures texts, off the page
      if (!drawn && options.onReady) options.onReady(place);
      drawn = true;
      place.dataset.drawn = "true";
      place.setAttribute("aria-label", described(title, lines));
    } catch (error) {
      cleared = false;
      fill(place, h("p", { class: "muted small" }, error.message));
    }
    if (values.open) fillValues();
  }

  function fillValues() {
    const rows = series().filter((one) => Array.isArray(one.x))
      .flatMap((one) => one.x.map((x, i) => [one.name ?? "", x, one.y[i]])).filter((row) => row[2] !== null && row[2] !== undefined);
    const kept = rows.slice(-MOST_ROWS);
    const table = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Values of ${title}` }, h("table", null,
      h("thead", null, h("tr", null, ["Series", options.x || "x", options.y || "y"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, kept.map((row) => h("tr", null, h("th", { scope: "row" }, row[0]), h("td", { class: "n" }, row[1]), h("td", { class: "n" }, (typeof options.percent === "function" ? options.percent() : options.percent) ? percent(row[2], 2) : number(row[2], 4)))))));
    values.replaceChildren(values.firstElementChild, table, ...(rows.length > kept.length ? [h("p", { class: "muted small" }, `The last ${MOST_ROWS} of ${rows.length} values.`)] : []));
  }

  const update = () => { pending ??= setTimeout(draw, drawn ? 500 : 0); };
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    seen = true;
    update();
  }, { rootMargin: "200px" }).observe(figure);
  let width = 0; // Plotly follows the window only, and a card may get a neighbour
  new ResizeObserver(async ([entry]) => {
    const before = width;
    width = Math.round(entry.contentRect.width);
    if (drawn && width && before && width !== before) (await plotly()).Plots.resize(place);
  }).observe(figure);
  for (const when of ["luthier:theme"]) document.addEventListener(when, () => drawn && update());
  for (const when of ["beforeprint", "afterprint"]) window.addEventListener(when, () => drawn && draw()); // in the colours of paper (theme.js), and back
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn && update());
  return { figure, update };
}

/** Horizontal bars as a table: rows of [name, value (a number), words]. */
export function bars(caption, rows, { most, look = "" } = {}) {
  const top = most ?? Math.max(...rows.map((row) => row[1]), 1e-12);
  return h("table", { class: `bars ${look}` }, h("caption", { class: "unseen" }, caption),
    h("tbody", null, rows.map(([name, value, words]) => h("tr", null, h("th", { scope: "row" }, name),
      h("td", { class: "stretch", "aria-hidden": "true" }, h("span", { class: "meter", vars: { share: Math.max(0, Math.min(1, value / top)) } })), h("td", { class: "n" }, words ?? number(value))))));
}

/** A histogram of `counts` (numbers) over names of bins, drawn by the style alone. */
export function histogram(caption, names, counts) {
  const top = Math.max(...counts, 1);
  return h("figure", { class: "histogram" }, h("figcaption", null, caption),
    h("div", { class: "columns", role: "img", "aria-label": `${caption}: ${names.map((name, i) => `${name}: ${counts[i]}`).slice(0, 60).join(", ")}` },
      counts.map((value, i) => h("i", { title: `${names[i]}: ${value}`, vars: { share: value / top } }))),
    h("div", { class: "ends", "aria-hidden": "true" }, h("span", null, names[0] ?? ""), h("span", null, names[names.length - 1] ?? "")));
}
