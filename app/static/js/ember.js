// The page's own hands: the form token on every request, drafts, toasts, menus and dialogs, ticks, keys, the title's count.
// Everything here is comfort: each form and link works without it.
"use strict";
(() => {
  const body = document.body;
  const text = (name) => body.dataset["text" + name] || "";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const meta = document.querySelector('meta[name="csrf-token"]');
  const typing = (node) => Boolean(node && node.closest && node.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true]"));

  // ---- requests: the token goes along; what fails says so and loses nothing
  document.addEventListener("htmx:config:request", (event) => {
    const request = event.detail.ctx.request;
    if (meta && !/^(GET|HEAD)$/.test(request.method)) request.headers["X-CSRF-Token"] = meta.content;
  });
  document.addEventListener("htmx:before:response", (event) => {
    const { response } = event.detail.ctx;
    if (response.status !== 401) return;
    event.preventDefault();
    toLogin(response.headers.get("HX-Redirect"));
  });
  // Several fragments may learn of the ended session at once, and one that waited in a queue knows the address of before: whoever is
  // first leaves, and comes back to what the window shows now, which is where the drafts are kept.
  let leaving = false;
  function toLogin(redirect) {
    if (leaving) return;
    leaving = true;
    drafts.keepAll();
    const login = new URL(redirect || "/login", location.href);
    login.searchParams.set("next", location.pathname + location.search);
    location.assign(login);
  }
  window.addEventListener("pageshow", () => { leaving = false; });
  document.addEventListener("htmx:after:request", (event) => {
    const ctx = event.detail.ctx;
    const status = ctx.response ? ctx.response.status : 0;
    if (status === 403 || status === 404 || status === 409 || status === 429 || status >= 500) {
      const plain = (ctx.response.headers.get("Content-Type") || "").startsWith("text/plain");
      toast(plain && ctx.text ? ctx.text : text("Failed"));
    }
  });
  document.addEventListener("htmx:error", (event) => {
    if (event.detail.ctx && !event.detail.ctx.response) toast(text("Offline"));
  });
  document.addEventListener("toast", (event) => toast(event.detail.text || event.detail.value, event.detail));

  // ---- drafts: what was typed survives a login in between
  const drafts = {
    // known by where it goes: a refused form comes back under another address, and after a login stands on its own page again
    key: (form) => `draft:${form.getAttribute("action") || location.pathname}:${form.id}`,
    forms: () => all('form[method="post"]:not([data-no-draft])'),
    keep(form) {
      const values = [];
      for (const field of form.elements) {
        if (!field.name || field.name === "csrf_token" || /^(hidden|password|file|submit)$/.test(field.type)) continue;
        if (/^(checkbox|radio)$/.test(field.type)) values.push([field.name, field.value, field.checked]);
        else if (field.value !== field.defaultValue || field.tagName === "SELECT") values.push([field.name, field.value, null]);
      }
      try { sessionStorage.setItem(drafts.key(form), JSON.stringify(values)); } catch { /* full or forbidden: comfort only */ }
    },
    keepAll() { drafts.forms().forEach(drafts.keep); },
    restore(form) {
      const raw = sessionStorage.getItem(drafts.key(form));
      if (!raw) return false;
      sessionStorage.removeItem(drafts.key(form));
      for (const [name, value, checked] of JSON.parse(raw)) {
        const field = all("[name]", form).find((found) => found.name === name && (checked === null || found.value === value));
        if (!field) continue;
        if (checked === null) field.value = value; else field.checked = checked;
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
      return true;
    },
    start() {
      if ((body.dataset.page || "").startsWith("auth.") && !body.classList.contains("framed")) {  // the login in between: whatever comes next restores
        sessionStorage.setItem("restore", "1");
        return;
      }
      const wanted = sessionStorage.getItem("restore") === "1";
      sessionStorage.removeItem("restore");
      const restored = drafts.forms().map((form) => (wanted ? drafts.restore(form) : (sessionStorage.removeItem(drafts.key(form)), false)));
      if (restored.some(Boolean)) toast(text("Restored"));
    },
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method === "post" && !form.hasAttribute("data-no-draft")) drafts.keep(form);
  }, true);

  // ---- toasts, with an undo that counts down
  function toast(message, options = {}) {
    if (!message) return;
    const box = document.createElement("div");
    box.className = "toast-ember";
    box.dataset.toast = "";
    box.dataset.seconds = options.seconds || 6;
    const words = document.createElement("span");
    words.textContent = message;
    box.append(words);
    if (options.undo) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "btn btn-ghost";
      button.dataset.undo = "";
      button.textContent = text("Undo");
      button.addEventListener("click", () => { window.htmx.ajax("POST", options.undo, { target: options.target || "body", swap: options.swap || "none" }); box.remove(); });
      box.append(button);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.className = "btn-quiet";
    close.dataset.close = "";
    close.setAttribute("aria-label", text("Close"));
    close.textContent = "×";
    box.append(close);
    document.getElementById("toasts").append(box);
    watchToast(box);
    return box;
  }
  function watchToast(box) {
    if (box.dataset.watched) return;
    box.dataset.watched = "1";
    const undo = box.querySelector("[data-undo]");
    const word = undo ? undo.textContent : "";
    let left = Number(box.dataset.seconds) || 6;
    let held = false;
    const hold = (value) => () => { held = value && !undo; };  // an undo's time is the server's: it does not wait
    box.addEventListener("mouseenter", hold(true));
    box.addEventListener("mouseleave", hold(false));
    const show = () => { if (undo) undo.textContent = `${word} (${left})`; };
    show();
    const timer = setInterval(() => {
      if (!box.isConnected) return clearInterval(timer);
      if (held) return;
      left -= 1;
      if (left <= 0) { clearInterval(timer); box.remove(); } else show();
    }, 1000);
  }
  const watchToasts = () => all("[data-toast]").forEach(watchToast);
  document.addEventListener("htmx:after:swap", watchToasts);

  // ---- menus, dialogs, closing
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    all("details[data-menu][open]").forEach((menu) => { if (!menu.contains(target)) menu.open = false; });
    const opener = target.closest("[data-open]");
    if (opener) { const dialog = document.getElementById(opener.dataset.open); if (dialog) { event.preventDefault(); dialog.showModal(); } }
    const closer = target.closest("[data-close]");
    if (closer) { const box = closer.closest("dialog, [data-toast]"); if (box) { if (box.close) box.close(); else box.remove(); } }
    if (target instanceof HTMLDialogElement) target.close();  // a click beside it
  });
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement) || !field.dataset.mustBe) return;
    const button = field.form && field.form.querySelector("button[type=submit]");
    if (button) button.disabled = field.value.trim() !== field.dataset.mustBe;
  });
  const lockTyped = () => all("input[data-must-be]").forEach((field) => { const button = field.form.querySelector("button[type=submit]"); if (button) button.disabled = field.value.trim() !== field.dataset.mustBe; });

  // ---- ticks: one, shift for a stretch, all of the page; [data-bulk] shows while any is set
  let lastTick = null;
  document.addEventListener("click", (event) => {
    const tick = event.target instanceof Element ? event.target.closest("input[data-tick], input[data-tick-all]") : null;
    if (!tick) return;
    const home = tick.closest("[data-ticks]") || document;
    const ticks = all("input[data-tick]", home);
    if (tick.hasAttribute("data-tick-all")) ticks.forEach((other) => { other.checked = tick.checked; });
    else {
      if (event.shiftKey && lastTick && ticks.includes(lastTick)) {
        const [from, to] = [ticks.indexOf(lastTick), ticks.indexOf(tick)].sort((a, b) => a - b);
        ticks.slice(from, to + 1).forEach((other) => { other.checked = tick.checked; });
      }
      lastTick = tick;
    }
    showTicks(home);
  });
  function showTicks(home) {
    const ticks = all("input[data-tick]", home);
    const set = ticks.filter((tick) => tick.checked).length;
    ticks.forEach((tick) => { const row = tick.closest("tr, li"); if (!row) return; row.toggleAttribute("data-ticked", tick.checked); if (row.tagName === "TR") row.setAttribute("aria-selected", tick.checked ? "true" : "false"); });
    all("input[data-tick-all]", home).forEach((head) => { head.checked = set > 0 && set === ticks.length; head.indeterminate = set > 0 && set < ticks.length; });
    all("[data-bulk]", home).forEach((bar) => bar.toggleAttribute("data-on", set > 0));
    all("[data-tick-count]", home).forEach((word) => { word.textContent = String(set); });
  }

  // ---- keys: only when no field has the focus, and only with the switch on
  const keys = new Map();
  function onKey(key, action) { keys.set(key, action); }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all("details[data-menu][open]").forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || body.dataset.shortcuts === "off" || typing(event.target)) return;
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const own = keys.get(event.key);
    if (own && own(event) !== false) { event.preventDefault(); return; }
    if (event.key === "?") { const help = document.getElementById("keys"); if (help) { event.preventDefault(); if (help.open) help.close(); else help.showModal(); } return; }
    if (event.key.length > 1 && !/^(Enter|Escape)$/.test(event.key)) return;
    const marked = all("[data-key]").find((node) => node.dataset.key === event.key && node.offsetParent !== null && !node.disabled);
    if (!marked) return;
    event.preventDefault();
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(marked.tagName)) { marked.focus(); if (marked.select) marked.select(); } else marked.click();
  });

  // ---- counts beside the menu and in the title
  const plainTitle = document.title.replace(/^\(\d+\) /, "");
  function showCounts() {
    const source = document.querySelector("[data-counts]");
    if (!source) return;
    const counts = JSON.parse(source.dataset.counts);
    all("[data-count]").forEach((mark) => {
      const value = counts[mark.dataset.count] || 0;
      mark.hidden = value === 0;
      mark.textContent = value > 999 ? "999+" : String(value);
    });
    document.title = counts.inbox ? `(${counts.inbox}) ${plainTitle}` : plainTitle;
  }
  document.addEventListener("htmx:after:swap", () => { showCounts(); lockTyped(); all("[data-ticks]").forEach(showTicks); });

  // ---- the rehearsal's clock goes on between loads
  const clock = document.getElementById("product-clock");
  if (clock) {
    const zone = (clock.textContent.match(/\(([^)]+)\)/) || [])[1];
    const at = Number(clock.dataset.now) * 1000;
    const factor = Number(clock.dataset.factor) || 1;
    const begun = performance.now();
    const format = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: zone || undefined });
    setInterval(() => { clock.textContent = format.format(new Date(at + (performance.now() - begun) * factor)); }, factor > 1 ? 250 : 1000);
  }

  // a row of tabs that is wider than the phone begins at the tab one is on
  all(".tabs > [aria-current]").forEach((tab) => { const row = tab.parentElement; row.scrollLeft += tab.getBoundingClientRect().left - row.getBoundingClientRect().left - 40; });

  const zoneField = document.querySelector("[data-browser-zone]");
  if (zoneField && !zoneField.value) zoneField.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";

  window.ember = { toast, onKey, typing, showTicks, toLogin };
  watchToasts();
  lockTyped();
  showCounts();
  drafts.start();
})();
