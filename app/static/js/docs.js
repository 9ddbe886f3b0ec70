"use strict";
(() => {
  const home = document.getElementById("swagger");
  // for those who hear the page: its title is a part of its own, and the groups stand directly below it
  const tell = () => {
    home.querySelectorAll(".information-container:not([role])").forEach((part) => { part.setAttribute("role", "region"); part.setAttribute("aria-label", document.title); });
    for (const level of [3, 4, 5])
      home.querySelectorAll(`h${level}:not([aria-level])`).forEach((head) => { head.setAttribute("role", "heading"); head.setAttribute("aria-level", String(level - 1)); });
  };
  new MutationObserver(tell).observe(home, { childList: true, subtree: true });
  window.SwaggerUIBundle({ url: home.dataset.document, domNode: home, deepLinking: false, persistAuthorization: false, validatorUrl: null });
})();
