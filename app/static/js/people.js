// A button that copies what stands in a field; without scripts the field itself can be selected.
"use strict";
(() => {
  const bind = () => document.querySelectorAll("[data-copy]:not([data-bound])").forEach((button) => {
    const field = document.getElementById(button.dataset.copy);
    if (!field) return;
    button.dataset.bound = "";
    button.hidden = false;
    field.addEventListener("focus", () => field.select());
    button.addEventListener("click", async () => {
      field.select();
      try { await navigator.clipboard.writeText(field.value); } catch { document.execCommand("copy"); }
      button.lastChild.textContent = button.dataset.copied;
    });
  });
  bind();
  document.addEventListener("htmx:after:swap", bind);
})();
