// The curves of one run: asked for in one go, then only what is new.

import { get, path } from "./api.js";
import { chart } from "./charts.js";
import { h } from "./dom.js";

const MOST = 2000;
const share = (name) => /accuracy|f1|precision|recall|match|auc/.test(name ?? "");

/** Charts of a run in `box`; refresh() asks for what is new and draws it. */
export function runCurves(box, id) {
  const steps = {};
  const evaluations = {};
  let last = 0;
  let metric = null;
  const charts = [];
  const column = (of, name) => of[name] ?? [];
  const has = (of, name) => column(of, name).some((value) => value !== null);
  const line = (of, name, title, more) => ({ name: title, x: column(of, "step"), y: column(of, name), connectgaps: true, ...more });

  const plans = [
    { title: "Loss", when: () => has(steps, "train_loss") || has(evaluations, "valid_loss"), y: "loss",
      series: () => [line(steps, "train_loss", "Training", { slot: 0 }), ...(has(evaluations, "valid_loss") ? [line(evaluations, "valid_loss", "Validation", { slot: 1, mode: "lines+markers" })] : [])] },
    { title: () => `Validation ${(metric ?? "metric").replaceAll("_", " ")}`, when: () => has(evaluations, "valid_metric"), y: "", percent: () => share(metric),
      series: () => [line(evaluations, "valid_metric", (metric ?? "metric").replaceAll("_", " "), { slot: 2, mode: "lines+markers" })] },
    { title: "Tokens predicted right", when: () => !has(evaluations, "valid_metric") && has(steps, "train_mean_token_accuracy"), y: "", percent: () => true,
      series: () => [line(steps, "train_mean_token_accuracy", "Training", { slot: 0 }), ...(has(evaluations, "valid_mean_token_accuracy") ? [line(evaluations, "valid_mean_token_accuracy", "Validation", { slot: 1, mode: "lines+markers" })] : [])] },
    { title: "Learning rate", small: true, when: () => has(steps, "learning_rate"), y: "", series: () => [line(steps, "learning_rate", "Learning rate", { slot: 5 })] },
    { title: "Gradient norm", small: true, when: () => has(steps, "grad_norm"), y: "", series: () => [line(steps, "grad_norm", "Gradient norm", { slot: 3 })] },
    { title: "Rows a second", small: true, when: () => has(steps, "rows_per_second"), y: "", series: () => [line(steps, "rows_per_second", "Rows a second", { slot: 4 })] },
  ];
  const hint = h("p", { class: "muted" }, "The curves begin with the first step.");
  box.append(hint);

  function take(into, columns) {
    for (const [name, values] of Object.entries(columns)) {
      into[name] = (into[name] ?? []).concat(values);
    }
    while (into.step.length > MOST) for (const name of Object.keys(into)) into[name] = into[name].filter((_, i) => i % 2 === 0 || i === into[name].length - 1);
  }

  async function refresh() {
    const found = await get(path`/luthier/v1/jobs/${id}/metrics?after=${last}&points=1000`);
    if (found.metric_name) metric = found.metric_name;
    const news = found.steps.step.length + found.evaluations.step.length > 0;
    last = found.last;
    if (!news) return found;
    take(steps, found.steps);
    take(evaluations, found.evaluations);
    for (const plan of plans) {
      if (!plan.chart && plan.when()) {
        plan.chart = chart(typeof plan.title === "function" ? plan.title() : plan.title, plan.series, { x: "step", y: plan.y, percent: plan.percent?.(), height: plan.small ? 170 : 280, small: plan.small });
        plan.chart.figure.classList.add(plan.small ? "small-chart" : "large-chart");
        hint.remove();
        const after = plans.slice(plans.indexOf(plan) + 1).find((one) => one.chart);
        box.insertBefore(plan.chart.figure, after?.chart.figure ?? null);
      }
      plan.chart?.update();
    }
    return found;
  }
  return { refresh, empty: () => !charts.length && hint.isConnected, hint };
}
