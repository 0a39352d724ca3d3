// Draws the figures of the page with Plotly, in the colours of the present theme. Pictures stay where that fails.
(async () => {
  "use strict";
  const charts = [...document.querySelectorAll(".chart")].filter((chart) => chart.querySelector(".figure-data"));
  const packed = document.getElementById("plotly-packed");
  if (!charts.length || !packed || typeof DecompressionStream === "undefined") return;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  packed.remove();
  if (!window.Plotly) return;

  const probe = document.createElement("i");
  document.body.append(probe);
  const present = (property) => {
    probe.style.color = `var(${property})`;
    return getComputedStyle(probe).color;
  };
  // Only keys that hold colours: a label may look like one.
  const themed = (value, colours, key = "") => {
    if (typeof value === "string") return key.endsWith("color") ? (colours.get(value) ?? value) : value;
    if (Array.isArray(value) && key !== "shapes" && key !== "annotations") return value;
    if (Array.isArray(value)) return value.map((item) => themed(item, colours));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, themed(item, colours, name)]));
    return value;
  };
  const light = { "--ink": "#1c232d", "--muted": "#566270", "--hair": "#e2e6ea" };
  const palette = /* colours */ {};
  const coarse = matchMedia("(pointer: coarse)").matches;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const draw = (chart) => {
    const colours = new Map(Object.entries({ ...light, ...palette }).map(([name, colour]) => [colour, present(name)]));
    const { data, layout } = JSON.parse(chart.querySelector(".figure-data").textContent);
    const sideways = layout.yaxis.type === "category";
    const rows = sideways ? new Set(data.flatMap((trace) => trace.y)).size : 0;
    const shared = layout.barmode === "group" ? data.length : 1;
    const shown = themed(layout, colours);
    const scale = Math.max(1, parseFloat(getComputedStyle(document.body).fontSize) / 16);
    shown.height = scale * (sideways ? 70 + 20 * shown.showlegend + rows * (shared > 1 ? 17 * shared + 14 : 34) : 350);
    for (const part of [shown, shown.xaxis.title, shown.yaxis.title]) part.font.size *= scale;
    shown.margin.r *= scale;
    shown.font.family = getComputedStyle(document.body).fontFamily;
    shown.dragmode = coarse ? false : "zoom";
    shown.hoverlabel.bgcolor = present("--panel");
    shown.hoverlabel.bordercolor = present("--hair");
    shown.hoverlabel.font = { color: present("--ink"), size: 13 * scale };
    shown.transition = { duration: still ? 0 : 120 };
    const place = chart.querySelector(".live");
    chart.classList.add("drawn");
    Plotly.react(place, data.map((trace) => themed(trace, colours)), shown, { displayModeBar: false, responsive: true });
  };
  // Hidden charts have no width yet: they are drawn when their part of the page is opened.
  const visible = (chart) => chart.offsetParent !== null;
  const drawAll = () => {
    for (const chart of charts) {
      if (!visible(chart)) continue;
      try {
        draw(chart);
      } catch (problem) {
        chart.classList.remove("drawn");
        console.error(problem);
      }
    }
  };
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.addEventListener("toggle", (event) => {
    for (const chart of charts) if (event.target.contains(chart) && visible(chart)) draw(chart);
  }, true);
})();
