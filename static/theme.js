// Runs before the first paint, so that a dark page never flashes white.
(() => {
  const stored = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = stored ?? (dark ? "dark" : "light");
})();
