// Runs before the page is painted, so that a chosen theme does not flash. Everything else waits.
(() => {
  let theme = "";
  try { theme = localStorage.getItem("luthier.theme") || ""; } catch { /* storage is switched off */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  let before; // on paper everything is light
  addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; document.documentElement.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme; });
})();
