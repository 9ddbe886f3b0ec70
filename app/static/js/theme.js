// Before the first paint: Tabler's own switch follows ours (system, light or dark).
"use strict";
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const wanted = root.dataset.theme;
    root.setAttribute("data-bs-theme", wanted === "dark" || (wanted !== "light" && dark.matches) ? "dark" : "light");
  };
  apply();
  dark.addEventListener("change", apply);
})();
