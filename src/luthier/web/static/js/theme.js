// Runs before the page is painted, so that a chosen theme does not flash. Everything else waits.
(() => {
  let theme = "";
  try { theme = localStorage.getItem("luthier.theme") || ""; } catch { /* storage is switched off */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
